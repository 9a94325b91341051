"""The end of a Keras model: its last activation, and the vector before the classifier.

Both are found by walking back from the output, which a subclassed model does not allow.
"""

_PASSING = ("Flatten", "Reshape", "Dropout")  # layers that leave numbers as they are


def activation(model) -> str | None:
    """Return the name of the last activation, such as `"softmax"` or `"linear"`.

    Returns:
        `None` if it cannot be told.
    """
    for operation, _ in _back_from_the_output(model):
        if _is_model(operation):
            return activation(operation)
        function = getattr(operation, "activation", None)
        kind = type(operation).__name__
        if function is None and kind in _PASSING:
            continue
        return getattr(function, "__name__", kind.lower())
    return None


def featurizer(model):
    """Return the model up to what its last layer with weights sees, as a vector.

    Returns:
        A `keras.Model` that shares the model's weights; `None` if there is none.
    """
    import keras

    for operation, tensors in _back_from_the_output(model):
        if not getattr(operation, "variables", ()):  # an operation is no layer
            continue
        (tensor,) = tensors
        if _is_model(operation):
            inner = featurizer(operation)
            if inner is None:
                return None
            tensor = inner(tensor)
        elif len(tensor.shape) > 2:
            tensor = keras.layers.Flatten()(tensor)
        return keras.Model(model.inputs, tensor)
    return None


def _is_model(operation):
    import keras

    return isinstance(operation, keras.Model)


def _back_from_the_output(model):
    """Yield each layer from the last one back, with the tensors that it takes."""
    outputs = getattr(model, "outputs", None)
    tensor = outputs[0] if outputs else None
    while tensor is not None:
        operation, index, _ = tensor._keras_history
        tensors = operation._inbound_nodes[index].input_tensors
        if not tensors:  # an input
            return
        yield operation, tensors
        tensor = tensors[0]
