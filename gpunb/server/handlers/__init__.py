"""The routes of the REST API and the websocket of events; handlers hold no logic.

``openapi.yaml`` says what each answers.
"""
