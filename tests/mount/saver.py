# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as trainers themselves write them, for test_watch_trainers.py.

Each kind trains so many steps, saves a checkpoint after every second one, keeps the newest two and calls done() after each
step; and it resumes from one, or raises.
"""
import os
import re
import shutil

import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 64))

    def forward(self, x, labels=None):
        y = self.layers(x)
        return {"loss": ((y - (x if labels is None else labels)) ** 2).mean(), "y": y}


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, i):
        x = torch.full((64,), float(i % 7))
        return {"x": x, "labels": -x}


def rotate(folder):
    steps = {int(re.search(r"\d+", name).group()): name for name in os.listdir(folder) if not name.endswith(".tmp")}
    for step in sorted(steps)[:-2]:
        path = os.path.join(folder, steps[step])
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def loop(folder, steps, done, save):
    """A loop as people write it themselves."""
    model = Model()
    optimizer = torch.optim.Adam(model.parameters())
    data = Samples()
    for n in range(steps):
        loss = model(**data[n])["loss"]
        loss.backward()
        optimizer.step()
        if n % 2:
            save(os.path.join(folder, f"step-{n + 1}"), {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
            rotate(folder)
        done()


class Pt:
    """One file of torch.save(), renamed when it is whole."""

    @staticmethod
    def train(folder, steps, done):
        def save(path, state):
            torch.save(state, path + ".pt.tmp")
            os.rename(path + ".pt.tmp", path + ".pt")
        loop(folder, steps, done, save)

    @staticmethod
    def load(path):
        Model().load_state_dict(torch.load(path)["model"])


class Dcp:
    """PyTorch Distributed Checkpoint."""

    @staticmethod
    def package():
        import torch.distributed.checkpoint
        return torch.distributed.checkpoint

    @classmethod
    def train(cls, folder, steps, done):
        dcp = cls.package()

        def save(path, state):
            dcp.save(state["model"], storage_writer=dcp.FileSystemWriter(path), no_dist=True)
        loop(folder, steps, done, save)

    @classmethod
    def load(cls, path):
        dcp, state = cls.package(), Model().state_dict()
        dcp.load(state, storage_reader=dcp.FileSystemReader(path), no_dist=True)


class Hf:
    @staticmethod
    def trainer(folder, steps, done):
        import transformers

        class Quiet(transformers.TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                done()

        options = transformers.TrainingArguments(
            folder, max_steps=steps, save_steps=2, save_total_limit=2, per_device_train_batch_size=4, use_cpu=True, report_to=[],
            disable_tqdm=True, save_safetensors=True)
        return transformers.Trainer(Model(), options, train_dataset=Samples(), callbacks=[Quiet()])

    @classmethod
    def train(cls, folder, steps, done):
        cls.trainer(folder, steps, done).train()

    @classmethod
    def load(cls, path):
        step = int(path.rsplit("-", 1)[1])
        cls.trainer(os.path.dirname(path) + ".resumed", step + 1, int).train(resume_from_checkpoint=path)


class Lightning:
    @staticmethod
    def trainer(folder, steps, done):
        import pytorch_lightning as lightning

        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = Model()

            def training_step(self, batch, _):
                self.log("n", float(self.global_step))
                return self.model(**batch)["loss"]

            def on_train_batch_end(self, *_):
                done()

            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters())

        keep = lightning.callbacks.ModelCheckpoint(folder, filename="{step}", monitor="n", mode="max", save_top_k=2,
                                                   every_n_train_steps=2)
        return lightning.Trainer(max_steps=steps, accelerator="cpu", callbacks=[keep], logger=False, enable_progress_bar=False,
                                 enable_model_summary=False), Module()

    @classmethod
    def train(cls, folder, steps, done, resume=None):
        trainer, module = cls.trainer(folder, steps, done)
        trainer.fit(module, torch.utils.data.DataLoader(Samples(), batch_size=4), ckpt_path=resume)

    @classmethod
    def load(cls, path):
        step = int(re.search(r"step=(\d+)", path).group(1))
        cls.train(os.path.dirname(path) + ".resumed", step + 1, int, path)


# The format of `batchweave watch` for each.
KINDS = {"pattern:step-{step}.pt": Pt, "dcp": Dcp, "hf": Hf, "lightning": Lightning}
