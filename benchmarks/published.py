"""The published tutorial run as a script, in stock Keras, from the raw file to the test accuracy.

`python benchmarks/published.py FOLDER`, where FOLDER has imdb.npz.
"""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from tensorflow import keras

layers = keras.layers

if __name__ == "__main__":
    raw = Path(sys.argv[1], "imdb.npz")
    keras.datasets.imdb.load_data.__globals__["get_file"] = lambda **download: str(raw)
    (x_train, y_train), (x_test, y_test) = keras.datasets.imdb.load_data(num_words=500)
    x_train = keras.utils.pad_sequences(x_train, maxlen=100)
    x_test = keras.utils.pad_sequences(x_test, maxlen=100)
    model = keras.Sequential(
        [
            layers.Embedding(500, 32),
            layers.Conv1D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling1D(2),
            layers.LSTM(50),
            layers.Dropout(0.2),
            layers.Dense(25, activation="sigmoid"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=5, batch_size=64, verbose=2)
    print(f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")
