"""Who may do what: IAM's decision over every request to the local AWS, made before the request is carried out."""
