"""The VCEMO network in torch: three modalities, two co-attention fusions, one prediction.

Two presets share the fusions. ``paper``: the acoustic branch is mel -> Conv-BatchNorm-ReLU -> LSTM.
``whisper``: the acoustic branch also reads the encoder states that speech recognition has computed anyway.
Padding never changes a result: every sequence is masked by its own length.
"""

import torch
from torch import Tensor, nn

from model.attention import (
    AttentionLayer,
    AttentionPooling,
    CoAttention,
    attentive_statistics,
    fit_to_steps,
    length_mask,
    masked_mean,
    pool_to_steps,
)
from model.dropout import Dropout
from model.encoders import MelEncoder, MelStatistics, Standardise, StateEncoder, StepEncoder, WordEncoder
from model.network_config import NetworkConfig
from model.sound_expert import SoundExpert, mean_of_opinions
from model.text_branch import TextBranch

__all__ = ["NetworkConfig", "VcemoNetwork"]


class VcemoNetwork(nn.Module):
    """Emotion logits of a padded batch (VCEMO fig. 1)."""

    INPUTS = (
        *("mel", "mel_lengths", "states", "states_lengths", "words", "words_lengths", "sentence", "modality_mask"),
        *("ngrams", "ngram_weights", "speaker_rows", "speaker_mel", "speaker_states"),
    )

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.text = None
        if config.text_branch:
            self.text = TextBranch(
                config.sentence_dimension,
                config.word_dimension,
                size=config.text_width,
                ngram_buckets=config.ngram_buckets,
            )
        self._add_encoders(config)
        width, heads, dropout = config.width, config.heads, config.dropout
        multiple = config.feed_forward_multiple
        self.fusion1 = CoAttention(
            width,
            heads,
            config.layers,
            dropout,
            feed_forward_multiple=multiple,
            bidirectional=config.bidirectional,
            aligned=config.add_mode == "aligned",
        )
        # Always guided by the sequence: softmax over the one step of a sentence is one, whoever asks.
        self.fusion2 = CoAttention(width, heads, config.layers, dropout, feed_forward_multiple=multiple)
        joined = 2 * width if config.concat == "channel" else width
        final = [
            AttentionLayer(joined, heads, dropout, guided=False, feed_forward_multiple=multiple)
            for _ in range(config.final_layers)
        ]
        # The first has a name of its own, which the weights of bundles with one layer carry.
        self.final, self.more_final = final[0], nn.ModuleList(final[1:])
        self.pooling = AttentionPooling(joined, dropout) if config.pooling == "attention" else None
        self.statistics: nn.ModuleList | None = None
        if config.preset == "whisper":
            self.statistics = nn.ModuleList(AttentionPooling(width, dropout) for _ in range(config.statistics_heads))
            size = 2 * width * config.statistics_heads
            self.statistics_norm = nn.Sequential(nn.LayerNorm(size), Dropout(dropout))
        parts = {"fused": joined}
        parts |= {"sound": 2 * width * config.statistics_heads} if self.statistics is not None else {}
        parts |= self.text.sizes if self.text is not None else {}
        pooled = sum(parts.values())
        parts |= {"expert": self.expert.size} if self.expert is not None else {}
        self._parts = parts
        hidden = [width if size is None else size for size in (config.predictor_hidden, config.projector_hidden)]
        self.predictor = _perceptron(pooled, hidden[0], nn.ReLU(), Dropout(dropout), outputs=config.num_classes)
        self.projector = _perceptron(pooled, hidden[1], nn.ReLU(), outputs=config.projection)
        self.judges = nn.ModuleDict(
            {
                name: nn.Sequential(Dropout(dropout), nn.Linear(size, config.num_classes))
                for name, size in parts.items()
                if name != "fused"
            }
        )

    def _add_encoders(self, config: NetworkConfig) -> None:
        """Add one encoder a modality (VCEMO §3.2), and what stands for a modality that is missing."""
        self._add_sound_encoders(config)
        self.words = WordEncoder(
            config.word_dimension,
            config.width,
            convolution=config.word_conv,
            kernel=config.word_kernel,
            steps=config.fusion_steps,
            lstm_layers=config.word_lstm_layers,
        )
        # Standardising before a Linear changes no function that it can learn.
        self.sentence = nn.Sequential(
            Standardise(config.sentence_dimension),
            Dropout(config.input_dropout),
            nn.Linear(config.sentence_dimension, config.width),
            *([nn.LayerNorm(config.width)] if config.sentence_norm else []),
        )
        self.absent = nn.Parameter(torch.zeros(3, config.width))
        self._freeze_unread(config)

    def _add_sound_encoders(self, config: NetworkConfig) -> None:
        """Add what reads the mel and the states, and the expert where some of the states are left to one."""
        width = config.width
        self.mel: MelEncoder | MelStatistics
        self.states: StateEncoder | StepEncoder | None = None
        self.expert: SoundExpert | None = None
        if config.mel_encoder == "conv":
            self.mel = MelEncoder(
                config.num_mels,
                width,
                config.conv_channels,
                config.conv_time_strides,
                frequency_stride=config.conv_frequency_stride,
                kernel=config.conv_kernel,
                lstm_layers=config.mel_lstm_layers,
            )
            if config.preset == "whisper":
                self.states = StateEncoder(config.state_dimension, width, config.fusion_steps, config.input_dropout)
            return
        self.mel = MelStatistics(config.num_mels, config.frames_per_step)
        self.states = StepEncoder(
            config.state_dimension - config.expert_dimension,
            2 * config.num_mels,
            width,
            input_dropout=config.input_dropout,
            dropout=config.dropout,
        )
        if config.expert_dimension and "acoustic" in config.modalities:
            self.expert = SoundExpert(
                config.expert_dimension,
                2 * config.num_mels,
                width,
                heads=config.statistics_heads,
                input_dropout=config.input_dropout,
                dropout=config.dropout,
            )

    def _freeze_unread(self, config: NetworkConfig) -> None:
        """Freeze every encoder that is never read; it stays, so that every ablation takes the same weights."""
        encoders: dict[str, tuple[nn.Module | None, ...]] = {
            "acoustic": (self.mel, self.states),
            "words": (self.words, self.text.words if self.text else None),
            "sentence": (self.sentence, *((self.text.sentence, self.text.ngrams) if self.text else ())),
        }
        for modality in set(encoders) - set(config.modalities):
            for encoder in encoders[modality]:
                if encoder is not None:
                    encoder.requires_grad_(False)

    def forward(
        self,
        mel: Tensor,
        mel_lengths: Tensor,
        states: Tensor,
        states_lengths: Tensor,
        words: Tensor,
        words_lengths: Tensor,
        sentence: Tensor,
        modality_mask: Tensor,
        ngrams: Tensor,
        ngram_weights: Tensor,
        speaker_rows: Tensor,
        speaker_mel: Tensor,
        speaker_states: Tensor,
    ) -> Tensor:
        """Return logits (batch, classes).

        mel: (batch, frames, mels). states: (batch, steps, d). words: (batch, words, d). sentence: (batch, d).
        Lengths: (batch,) int64. modality_mask: (batch, 3), columns acoustic, words, sentence. ngrams (batch, n) int64,
        ngram_weights (batch, n) and speaker_*: as :func:`model.features.collate` gives them.
        """
        embedded = self.embed(
            mel,
            mel_lengths,
            states,
            states_lengths,
            words,
            words_lengths,
            sentence,
            modality_mask,
            ngrams,
            ngram_weights,
            speaker_rows,
            speaker_mel,
            speaker_states,
        )
        logits = self.predict(embedded)
        if self.expert is None:
            return logits
        return mean_of_opinions(logits, self.judged_alone(embedded)["expert"], modality_mask[:, :1] > 0)

    def predict(self, embedded: Tensor) -> Tensor:
        """Return what the fused network says of :meth:`embed`'s output, without the expert: (batch, classes)."""
        logits: Tensor = self.predictor(self._without_expert(embedded))
        return logits

    def project(self, embedded: Tensor) -> Tensor:
        """Return the L2-normalised contrastive feature (batch, projection) of :meth:`embed`'s output (VCEMO §3.4)."""
        return nn.functional.normalize(self.projector(self._without_expert(embedded)), dim=-1)

    def _without_expert(self, embedded: Tensor) -> Tensor:
        return embedded if self.expert is None else embedded[:, : -self.expert.size]

    @property
    def embedded_size(self) -> int:
        """Length of :meth:`embed`'s vectors."""
        return sum(self._parts.values())

    def judged_alone(self, embedded: Tensor) -> dict[str, Tensor]:
        """Return the logits (batch, classes) of each part of :meth:`embed`'s output that goes past the fusions.

        Training asks: what a part cannot say alone it will not say in company, where others are learnt faster. So is
        an expert taught, which has no company.
        """
        slices = dict(zip(self._parts, torch.split(embedded, list(self._parts.values()), dim=-1), strict=True))
        return {name: judge(slices[name]) for name, judge in self.judges.items()}

    def embed(
        self,
        mel: Tensor,
        mel_lengths: Tensor,
        states: Tensor,
        states_lengths: Tensor,
        words: Tensor,
        words_lengths: Tensor,
        sentence: Tensor,
        modality_mask: Tensor,
        ngrams: Tensor,
        ngram_weights: Tensor,
        speaker_rows: Tensor,
        speaker_mel: Tensor,
        speaker_states: Tensor,
    ) -> Tensor:
        """Fuse the modalities into one vector a sample; what predictor and projector both read (VCEMO §3.4)."""
        prior = self.config.speaker_prior_steps
        mel = self.mel.standardise.adapt(
            mel, speaker_rows[:, 0], speaker_mel, prior=prior * self.config.frames_per_step
        )
        if isinstance(self.mel, MelStatistics):
            mel = self.mel(mel, _audible(mel_lengths, modality_mask), states)
        opinions = []
        if self.expert is not None:
            columns = self.config.state_dimension - self.expert.dimension
            (states, of_expert), (speaker_states, heard) = (
                (x[..., :columns], x[..., columns:]) for x in (states, speaker_states)
            )
            of_expert = self.expert.steps.standardise.adapt(of_expert, speaker_rows[:, 1], heard, prior=prior)
            opinions.append(self.expert(of_expert, mel, length_mask(states_lengths, states.shape[1])))
        if self.states is not None:
            states = self.states.standardise.adapt(states, speaker_rows[:, 1], speaker_states, prior=prior)
        sound, sound_mask = self._sound(mel, mel_lengths, states, states_lengths, modality_mask)
        acoustic = sound
        if self.config.mel_encoder == "statistics":
            acoustic = pool_to_steps(sound, sound_mask.sum(1), self.config.fusion_steps)
        word_sequence, word_mask = self._words(words, words_lengths, modality_mask)
        fused, mask = self._fuse_sequences(acoustic, word_sequence, word_mask)
        joined, mask = self._fuse_sentence(fused, mask, self._sentence(sentence, modality_mask))
        for layer in (self.final, *self.more_final):
            joined = layer(joined, mask)
        pooled = self._pool(joined, mask)
        if self.statistics is not None:
            pooled = torch.cat(
                [pooled, self.statistics_norm(attentive_statistics(self.statistics, sound, sound_mask))], dim=-1
            )
        if self.text is not None:
            kept = [float(modality in self.config.modalities) for modality in ("acoustic", "words", "sentence")]
            read = modality_mask * modality_mask.new_tensor(kept)
            said = self.text(sentence, words, words_lengths, ngrams, ngram_weights, read)
            pooled = torch.cat([pooled, said], dim=-1)
        return torch.cat([pooled, *opinions], dim=-1)

    def _sound(
        self, mel: Tensor, mel_lengths: Tensor, states: Tensor, states_lengths: Tensor, modality_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode the sound (batch, steps, width), at the fusion's steps or at those of the states, and its mask.

        mel: as the network gets it, or its statistics at the steps of the states where that is how it is read.
        """
        steps = self.config.fusion_steps
        if "acoustic" not in self.config.modalities:
            missing = self._missing(0, modality_mask).expand(-1, steps, -1)
            return missing, _everywhere(missing)
        heard = modality_mask[:, 0:1] > 0
        if isinstance(self.states, StepEncoder):
            sequence = self.states(states, mel)
            mask = length_mask(states_lengths, states.shape[1])
        else:
            encoded, lengths = self.mel(mel, _audible(mel_lengths, modality_mask))
            sequence = pool_to_steps(encoded, lengths, steps)
            if isinstance(self.states, StateEncoder):
                sequence = sequence + self.states(states, states_lengths)
            mask = _everywhere(sequence)
        return torch.where(heard[..., None], sequence, self.absent[0]), mask

    def _words(self, words: Tensor, lengths: Tensor, modality_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode, then pad or cut to the fusion's steps: (batch, steps, width) and its mask."""
        steps = self.config.fusion_steps
        if "words" not in self.config.modalities:
            sequence = self._missing(1, modality_mask).expand(-1, steps, -1)
            return sequence, length_mask(torch.ones_like(lengths), steps)
        present = modality_mask[:, 1:2] > 0
        sequence = fit_to_steps(self.words(words, lengths), steps)
        sequence = torch.where(present[..., None], sequence, self.absent[1])
        if self.words.mixes_time:
            lengths = torch.full_like(lengths, steps)
        return sequence, length_mask(torch.where(present[:, 0], lengths, torch.ones_like(lengths)), steps)

    def _sentence(self, sentence: Tensor, modality_mask: Tensor) -> Tensor:
        """Encode the sentence: (batch, 1, width)."""
        if "sentence" not in self.config.modalities:
            return self._missing(2, modality_mask)
        read = modality_mask[:, 2:3] > 0
        return torch.where(read, self.sentence(sentence), self.absent[2])[:, None]

    def _fuse_sequences(self, acoustic: Tensor, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Fusion 1 (VCEMO §3.3): co-attention, then element-wise addition; (batch, steps, width) and its mask."""
        acoustic_mask = _everywhere(acoustic)
        audio_guides = self.config.fusion1_guide == "audio"
        pair = ((acoustic, acoustic_mask), (words, word_mask))
        (guide, guide_mask), (guided, guided_mask) = pair if audio_guides else pair[::-1]
        guide, guided = self.fusion1(guide, guide_mask, guided, guided_mask)
        if self.config.add_mode == "aligned":
            return guide + guided, guided_mask
        acoustic, words = (guide, guided) if audio_guides else (guided, guide)
        return acoustic + words * word_mask[..., None].to(words.dtype), acoustic_mask

    def _fuse_sentence(self, fused: Tensor, mask: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """Fusion 2 (VCEMO §3.3): co-attention, then concatenation along time or channels, and its mask."""
        single = _everywhere(sentence)
        fused, sentence = self.fusion2(fused, mask, sentence, single)
        if self.config.concat == "channel":
            return torch.cat([fused, sentence.expand_as(fused)], dim=2), mask
        return torch.cat([fused, sentence], dim=1), torch.cat([mask, single], dim=1)

    def _pool(self, joined: Tensor, mask: Tensor) -> Tensor:
        """Reduce the final steps (batch, steps, d) to (batch, d)."""
        if self.pooling is not None:
            pooled: Tensor = self.pooling(joined, mask)
            return pooled
        return masked_mean(joined, mask) if self.config.pooling == "mean" else joined[:, -1]

    def _missing(self, column: int, modality_mask: Tensor) -> Tensor:
        """Return what stands for a modality that no sample has, (batch, 1, width)."""
        return self.absent[column] + torch.zeros_like(modality_mask[:, :1, None])


def _perceptron(inputs: int, hidden: int, *between: nn.Module, outputs: int) -> nn.Sequential:
    """Build a two-layer perceptron, or one Linear where ``hidden`` is zero."""
    if hidden == 0:
        return nn.Sequential(nn.Linear(inputs, outputs))
    return nn.Sequential(nn.Linear(inputs, hidden), *between, nn.Linear(hidden, outputs))


def _audible(mel_lengths: Tensor, modality_mask: Tensor) -> Tensor:
    """Return the lengths (batch,) of what may be heard: zero where the sound is masked."""
    return mel_lengths * (modality_mask[:, 0] > 0).to(mel_lengths.dtype)


def _everywhere(x: Tensor) -> Tensor:
    """Return a mask (batch, steps) that hides nothing of ``x`` (batch, steps, width)."""
    return torch.ones_like(x[..., 0]) > 0
