"""The demo exchange: real websocket and HTTP servers on loopback, over one seeded market whose truth can be asked.

It shares no code with what it judges: of the program it uses only words and constants. Nothing here reaches beyond 127.0.0.1.
"""
