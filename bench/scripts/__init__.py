"""What Bakehouse is measured against: each a command `python FILE INPUT OUTPUT`, which finds the API in the environment."""
