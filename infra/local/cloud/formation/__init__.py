"""CloudFormation: the resources that moto lacks or replaces where AWS updates."""
