"""HL7 version 2: what a RIS tells us, read into records. Pure."""
