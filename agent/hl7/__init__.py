"""HL7 version 2 from outside: bytes to messages, messages to what they say, and answers. Pure.

Not a library for all of HL7: the reading side of what preread takes. The port is `agent.mllp`.
"""
