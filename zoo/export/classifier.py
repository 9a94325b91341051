"""A Keras image classifier, seen as what is served: raw images in, answers out."""

from collections.abc import Callable, Sequence

import numpy as np

from zoo.errors import ZooError
from zoo.export import last_layer

_BATCH = 128  # images, whatever their size
_AT_ONCE = 2  # encoded images that are decoded: each may be large
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as grey PNG and JPEG converters use it


class Classifier:
    """What the signatures of an export compute.

    Attributes:
        model: the Keras model.
        class_names: one string per class.
        image_shape: of one image, `(height, width, channels)`, or `(height, width)`
            for a model that takes images without a channel axis.
        reads_bytes: whether encoded images can be read: into 1 or 3 channels.
        has_features: whether the vector before the classifier can be had: not of a
            subclassed model, whose `call` alone knows how its layers are connected.
    """

    def __init__(
        self,
        model,
        examples: np.ndarray,
        class_names: Sequence[str] | None = None,
        preprocess: Callable | None = None,
    ):
        """Look at a model, and at its answers to some images.

        Args:
            model: a `keras.Model` that takes a batch of images, and returns a row of
                logits or probabilities for each; or one, that of the second class.
            examples: images to ask it about, uint8 `(n, *image_shape)`.
            class_names: one string per class; `None` counts them from "0".
            preprocess: what the model's images went through in training, in
                TensorFlow's terms: float32 images, 0 to 255, to what the model takes.
                `None` if that is inside the model, as in those of the zoo.

        Raises:
            ZooError: it is not such a model, or has another number of classes.
        """
        self.model = model
        self._preprocess = preprocess
        self.image_shape = check_images(model, examples)
        self.reads_bytes = len(self.image_shape) == 2 or self.image_shape[2] in (1, 3)
        raw = self._checked(self._raw(examples), len(examples))
        self._logits = _returns_logits(model, raw)
        num_classes = max(2, raw.shape[1])
        if class_names is None:
            class_names = [str(index) for index in range(num_classes)]
        self.class_names = tuple(class_names)
        strings = all(isinstance(name, str) for name in self.class_names)
        if len(self.class_names) != num_classes or not strings:
            raise ZooError(
                f"class_names must hold {num_classes} strings, one for each class of "
                f"{model.name}. Received: {self.class_names!r:.80}"
            )
        self._featurizer = last_layer.featurizer(model)
        self.has_features = self._featurizer is not None

    def probabilities(self, images):
        """Return the class probabilities, float32 `(n, classes)`, of uint8 images."""
        import tensorflow as tf

        outputs = self._raw(images)
        if outputs.shape[-1] == 1:
            p = tf.sigmoid(outputs) if self._logits else outputs
            return tf.concat([1 - p, p], axis=-1)
        return tf.nn.softmax(outputs) if self._logits else outputs

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the class probabilities of any number of images, in small batches."""
        starts = range(0, len(images), _BATCH)
        batches = [self.probabilities(images[n : n + _BATCH]) for n in starts]
        return np.concatenate(batches)

    def answers(self, images) -> dict:
        """Return probabilities, and the most probable class by number and by name."""
        import tensorflow as tf

        probabilities = self.probabilities(images)
        ids = tf.argmax(probabilities, axis=-1)
        return {
            "probabilities": probabilities,
            "class_ids": ids,
            "class_names": tf.gather(tf.constant(self.class_names), ids),
        }

    def feature_vectors(self, images):
        """Return what the last layer sees, float32 `(n, size)`, of uint8 images."""
        import tensorflow as tf

        vectors = self._featurizer(self._prepared(images), training=False)
        return tf.cast(vectors, tf.float32)

    def decode(self, image_bytes):
        """Return the images that the model sees of encoded ones.

        The first frame of an animation counts. Transparent pixels become black. Colour
        becomes luma for a model of one channel. What has another size is resized, its
        proportions included, by bilinear interpolation with antialiasing. The
        orientation in a photo's EXIF data is not looked at, nor is the palette of a
        BMP file, as TensorFlow reads neither.

        Args:
            image_bytes: string tensor `(n,)`: PNG, JPEG, BMP or GIF, any size, any
                number of channels.

        Returns:
            uint8 `(n, *image_shape)`.

        Reference:
            ITU-R Recommendation BT.601 (luma).
        """
        import tensorflow as tf

        return tf.map_fn(
            self._decode_one,
            image_bytes,
            fn_output_signature=tf.TensorSpec(self.image_shape, tf.uint8),
            parallel_iterations=_AT_ONCE,
        )

    def _decode_one(self, image_bytes):
        import tensorflow as tf

        height, width, *channels = self.image_shape

        def resized(image):  # whole images become floats only where they must
            return tf.image.resize(image, (height, width), antialias=True)

        def over_black(image):
            image = tf.cast(image, tf.float32)
            return image[..., :-1] * image[..., -1:] / 255

        image = tf.io.decode_image(image_bytes, expand_animations=False)
        # Grey and alpha, or red, green, blue and alpha.
        image = tf.cond(
            tf.shape(image)[-1] % 2 == 0,
            lambda: resized(over_black(image)),
            lambda: resized(image),
        )
        colour = tf.shape(image)[-1] == 3
        if channels == [3]:
            image = tf.cond(
                colour, lambda: image, lambda: tf.repeat(image[..., :1], 3, axis=-1)
            )
        else:
            image = tf.cond(
                colour,
                lambda: tf.reduce_sum(image * _LUMA, axis=-1, keepdims=True),
                lambda: image,
            )
        image = tf.saturate_cast(tf.round(image), tf.uint8)
        return tf.reshape(image, self.image_shape)

    def _checked(self, raw, number) -> np.ndarray:
        """Return what the model answers, if it is a row of numbers for each image."""
        if getattr(raw, "ndim", None) != 2 or len(raw) != number:
            raise ZooError(
                f"{self.model.name} must return a row of class probabilities or logits "
                f"for each image. Received: {getattr(raw, 'shape', type(raw).__name__)}"
                f" for {number} images"
            )
        raw = np.asarray(raw)
        if not np.isfinite(raw).all():
            raise ZooError(
                f"{self.model.name} answers with NaN or infinity: train it anew."
            )
        return raw

    def _raw(self, images):
        import tensorflow as tf

        outputs = self.model(self._prepared(images), training=False)
        if isinstance(outputs, (dict, list, tuple)):  # several outputs
            return outputs
        return tf.cast(outputs, tf.float32)

    def _prepared(self, images):
        import tensorflow as tf

        if self._preprocess is not None:
            images = self._preprocess(tf.cast(images, tf.float32))
        inputs = _inputs(self.model)
        return tf.cast(images, inputs[0].dtype if inputs else self.model.input_dtype)


def check_images(model, images: np.ndarray) -> tuple[int, ...]:
    """Return the shape of one image, if images are such as a model takes.

    Raises:
        ZooError: they are not.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise ZooError(f"a keras.Model is exported. Received: {type(model).__name__}")
    images = np.asarray(images)
    inputs = _inputs(model)
    if inputs and len(inputs) != 1:
        raise ZooError(
            f"{model.name} must have one input, a batch of images. Received: "
            f"{len(inputs)} inputs"
        )
    wanted = tuple(inputs[0].shape[1:]) if inputs else images.shape[1:]
    fits = images.dtype == np.uint8 and images.ndim in (3, 4) and len(images) > 0
    if not fits or not _matches(images.shape[1:], wanted):
        raise ZooError(
            f"the images must be uint8, (n, height, width, channels) or (n, height, "
            f"width), such as {model.name} takes: {wanted}. Received: "
            f"{images.dtype} {images.shape}"
        )
    return images.shape[1:]


def _inputs(model):
    return getattr(model, "inputs", None)  # a subclassed model does not tell


def _matches(shape, wanted):
    return len(shape) == len(wanted) and all(
        there is None or there == here
        for here, there in zip(shape, wanted, strict=True)
    )


def _returns_logits(model, raw: np.ndarray) -> bool:
    """Return whether softmax, or sigmoid of a single unit, is still to come."""
    activation = last_layer.activation(model)
    likely = np.all((raw >= 0) & (raw <= 1))
    if raw.shape[1] > 1 and likely and np.allclose(raw.sum(axis=1), 1, atol=1e-3):
        return False
    if raw.shape[1] > 1 and (activation == "sigmoid" or likely and not activation):
        raise ZooError(
            f"{model.name} answers with a probability for each class apart: it may "
            "name several classes for an image; only classifiers that name one can be "
            "exported. End it with softmax, or with none."
        )
    if raw.shape[1] == 1 and activation not in ("linear", "sigmoid"):
        raise ZooError(
            f"{model.name} has one output, and whether it is a probability cannot be "
            "told: end it with Dense(1, activation='sigmoid')."
        )
    return activation != "sigmoid"
