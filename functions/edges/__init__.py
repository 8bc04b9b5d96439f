"""Everything that talks to the outside, one module a service. Only these import boto3 or kubernetes."""
