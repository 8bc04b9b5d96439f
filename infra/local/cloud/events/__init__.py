"""EventBridge and SNS: what happened, who is told, and what is due by the clock."""
