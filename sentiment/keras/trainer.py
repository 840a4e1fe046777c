"""Keras's ``fit`` for any Keras model from int ids [reviews, length] to probabilities [reviews, 1 or labels].

It uses only operations that are deterministic according to Keras and TensorFlow. So a training has the same bits on one
machine, also after an interruption. On another machine the bits differ.
"""

from collections.abc import Callable, Mapping

import numpy as np

from sentiment.data.padding import drop_words
from sentiment.keras import backend
from sentiment.keras.backend import keras, tf
from sentiment.training import WORDS


def promise() -> str:
    """One line that names the trainer and the machines on which the bits are the same."""
    device = "a GPU" if tf.config.list_physical_devices("GPU") else "the CPU"
    return f"Keras on {device}: the same bits on this machine only; elsewhere metrics within a tolerance"


class KerasTrainer:
    """Trains by ``fit``; a ``training.Trainer``, in one process.

    Args:
        build: Makes the model. Keras draws its initial weights.
        state: Result of an earlier trainer's ``state``; ``None`` starts training.
        batch: Number of reviews per update; the last batch of an epoch may be smaller.
        optimizer: Keras's name of the optimizer. SGD has a momentum of 0.9, as in the compiled trainer.
        learning_rate: Learning rate of the first update.
        decay: Number of updates in which the learning rate falls linearly to 0; ``None`` keeps it constant.
        word_dropout: See ``padding.drop_words``.
        seed: Seed of the initial weights and of dropout.
        settings: Settings of the optimizer, by Keras's names.
    """

    parallel = False

    def __init__(
        self,
        build: Callable[[], keras.Model],
        state: Mapping[str, np.ndarray] | None = None,
        *,
        batch: int,
        optimizer: str,
        learning_rate: float,
        decay: int | None = None,
        word_dropout: float = 0.0,
        seed: int,
        **settings: float,
    ):
        keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        self.model, self.batch, self.promise = build(), batch, promise()
        self.word_dropout, self.seed = word_dropout, seed
        schedule = keras.optimizers.schedules.PolynomialDecay(learning_rate, decay, 0.0) if decay else learning_rate
        momentum = {"momentum": 0.9} if optimizer == "sgd" else {}
        self.optimizer = keras.optimizers.get(
            {"class_name": optimizer, "config": {"learning_rate": schedule} | momentum | settings}
        )
        loss = "binary_crossentropy" if self.model.output_shape[-1] == 1 else "sparse_categorical_crossentropy"
        self.model.compile(self.optimizer, loss, metrics=["accuracy"])
        self.optimizer.build(self.model.trainable_variables)
        if state is not None:
            backend.set_weights(self.model, state["weights"])
            for name, variable in self._variables().items():
                variable.assign(state[name])

    def epoch(self, ids, labels, order, epoch, progress=lambda reviews: None):
        """As ``training.Trainer``."""
        first = epoch * -(-len(order) // self.batch)

        def drop(rows, number):
            drop_words(rows, self.word_dropout, [self.seed, WORDS, first + number])

        batches = _Batches(ids, labels, order, self.batch, drop)
        counter = keras.callbacks.LambdaCallback(on_train_batch_end=lambda at, logs: progress(len(batches.rows(at))))
        history = self.model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[counter]).history
        return {name: history[name][-1] for name in ("loss", "accuracy")}

    def predict(self, ids):
        """As ``training.Trainer``."""
        return predict(self.model, ids, batch=self.batch)

    def state(self):
        """As ``training.Trainer``: the weights, the optimizer's variables and the seeds of dropout."""
        variables = {name: keras.ops.convert_to_numpy(variable) for name, variable in self._variables().items()}
        return variables | {"weights": backend.get_weights(self.model)}

    def _variables(self) -> dict[str, keras.Variable]:
        """The variables, except the weights, that training changes."""
        weights = {id(weight) for weight in self.model.weights}
        seeds = [variable for variable in self.model.variables if id(variable) not in weights]
        variables = {f"optimizer/{number}": variable for number, variable in enumerate(self.optimizer.variables)}
        return variables | {f"seed/{number}": variable for number, variable in enumerate(seeds)}


def predict(
    model: keras.Model, ids: np.ndarray, *, batch: int, progress: Callable[[int], None] = lambda reviews: None
) -> np.ndarray:
    """The probability of label 1 of each review, float32 [reviews]; of more labels, of each, [reviews, labels].

    Args:
        model: Model from int ids to probabilities.
        ids: int [reviews, length]; a memory map is read batch by batch.
        batch: Maximum number of reviews predicted at once.
        progress: Called after each batch with the number of reviews in it.
    """
    batches = _Batches(ids, None, np.arange(len(ids)), batch)
    counter = keras.callbacks.LambdaCallback(on_predict_batch_end=lambda at, logs: progress(len(batches.rows(at))))
    probabilities = model.predict(batches, verbose=0, callbacks=[counter])
    return probabilities[:, 0] if probabilities.shape[1] == 1 else probabilities


class _Batches(keras.utils.PyDataset):
    """Batches of reviews, each of which is read when Keras needs it.

    Args:
        ids: Unsigned int [reviews, length].
        labels: uint8 [reviews]; ``None`` in prediction.
        order: int [n]: the reviews, in this order.
        batch: Number of reviews in each batch.
        drop: Called with the ids of a batch, which it may change, and the number of the batch.
    """

    def __init__(
        self,
        ids: np.ndarray,
        labels: np.ndarray | None,
        order: np.ndarray,
        batch: int,
        drop: Callable[[np.ndarray, int], None] = lambda ids, number: None,
    ):
        super().__init__()
        self.ids, self.labels, self.order, self.batch, self.drop = ids, labels, order, batch, drop

    def __len__(self):
        return -(-len(self.order) // self.batch)

    def rows(self, number: int) -> np.ndarray:
        """The reviews of a batch, sorted so that a memory map is read forwards."""
        return np.sort(self.order[number * self.batch : (number + 1) * self.batch])

    def __getitem__(self, number):
        rows = self.rows(number)
        ids = np.asarray(self.ids[rows], np.int32)
        self.drop(ids, number)
        return (ids,) if self.labels is None else (ids, self.labels[rows, None].astype(np.float32))
