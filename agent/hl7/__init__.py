"""HL7 version 2 from outside: bytes to messages, messages to records, and the answers to them. Pure.

Not a library for all of HL7: the reading side of what preread takes.
"""
