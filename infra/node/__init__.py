"""What runs on each machine: the same files on EC2 and in the local world.

Standard library only (Python 3.9 or newer): a machine must be able to boot with nothing but its image.
"""
