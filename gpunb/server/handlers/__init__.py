"""The routes of the REST API and the websocket of events.

Handlers check a body and hand the work to a thread; ``openapi.yaml`` says what each answers.
"""
