"""Compare methods on planted data, then train one and measure it."""

# %% Planted importance: every method can be checked against the truth, and a run takes seconds.
import vsumdata

DATA = "videos=40,noise=0.3,seed=1"
table = vsumdata.bench("synthetic", data=DATA, methods=["mlp", "vasnet"], seeds=1, settings={"epochs": 5}, quiet=True)
print(table.to_pandas()[["method", "metric", "mean", "n", "notes"]])

# %% One run, kept in a folder. The same call goes on where it stopped.
run = vsumdata.fit("mlp", data=f"synthetic:{DATA}", out="work/runs/mlp", settings={"epochs": 5}, quiet=True)
print(run.position.epoch, run.settings.method)

# %% It is measured on videos that it has not seen.
print(vsumdata.evaluate("work/runs/mlp", on="synthetic", data=DATA).to_pandas()[["method", "metric", "mean"]])
