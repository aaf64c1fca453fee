"""The `audio` table: a feature of the sound of each second, of the same decoded sound as Whisper's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from vsumdata.manifests.errors import SkipVideo, UsageError
from vsumdata.stages.encoders.audio import AudioEncoder
from vsumdata.stages.pictures.decode import stream_audio
from vsumdata.stages.stage import Context, Function, Row

TABLE = "audio"
# What TripleSumm's features of sound are made by (smkim37/TripleSumm README).
USUAL = "MIT/ast-finetuned-audioset-10-10-0.4593"


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Load the encoder at `options["audio_location"]`; return the row function of `audio`.

    The function raises SkipVideo `no_sound`, and what `stream_audio` raises. Raises UsageError if the encoder cannot be
    loaded or gives vectors of another size than `audio_dim`.
    """
    encoder = AudioEncoder(options["audio_location"], context.device, context.threads)
    if encoder.dim != options["audio_dim"]:
        raise UsageError(f"{options['audio_model']} gives {encoder.dim} numbers a second, not {options['audio_dim']}")

    def listen(row: Row) -> Row:
        # `closing` ends the ffmpeg process when the model raises.
        with contextlib.closing(stream_audio(row["media"], idle_s=context.idle_s)) as sound:
            feature = encoder.encode(sound, context.came_on)
        if not len(feature):
            raise SkipVideo("no_sound")
        return {"audio_feature": feature, "audio_model": options["audio_model"], "device": encoder.made_on}

    return listen
