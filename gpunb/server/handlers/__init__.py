"""The routes of the REST API and the websocket of events.

Handlers validate a body and hand the work to a thread; ``openapi.yaml`` specifies the answers.
"""
