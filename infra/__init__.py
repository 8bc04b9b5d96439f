"""What is deployed to AWS and onto machines, and the local world that stands in for both."""
