"""Why a deployment stopped, in one sentence with its remedy."""


class DeploymentError(Exception):
    """The account is left as the last finished step made it; running the deployment again goes on from there."""
