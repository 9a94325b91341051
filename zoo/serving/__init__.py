"""An embedded server that speaks TensorFlow Serving's REST and gRPC APIs."""
