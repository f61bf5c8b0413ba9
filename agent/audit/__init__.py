"""The audit trail: rows of the store become messages after DICOM PS3.15 A.5, in a file and at a syslog server."""
