"""HL7 version 2 from outside: bytes to messages, messages to what they say, answers, and the port.

Everything here is pure but `receiver`. Not a library for all of HL7: the reading side of what preread takes.
"""
