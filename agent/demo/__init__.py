"""A whole hospital on loopback: synthetic patients, a mini PACS, and the real preread between them."""
