"""What a monitor may ask over HTTP: /metrics, /healthz and /readyz. Counts and states; nothing of patients."""
