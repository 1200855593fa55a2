"""Between the core's types and the messages of animax.v1. Used alike by the service and by its clients."""
