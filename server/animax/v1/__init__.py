"""Protobuf modules of the wire contract, generated from proto/animax/v1; do not edit (`python run.py generate`)."""
