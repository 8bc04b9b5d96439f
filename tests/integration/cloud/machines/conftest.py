from tests.integration.cloud.machines.rig import aws, delays

__all__ = ["aws", "delays"]
