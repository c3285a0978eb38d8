#!/usr/bin/env bash
# The whole loop for a real base model, on a machine with a GPU: data, training, vLLM, evaluation, swap.
#
#   export RASA_LICENSE=...  OPENAI_API_KEY=...             # what your assistant needs
#   scripts/loop.sh MY_ASSISTANT [RECIPE] [VLLM_PYTHON]     # such as: scripts/loop.sh ~/my-assistant qwen3-4b
#
# Run it in an environment with `pip install 'rasa-ft-ext[rasa,train]'`. vLLM has one of its own, whose python is
# VLLM_PYTHON (default: ~/vllm/bin/python). It stops at the first step that fails; run again, it goes on from there.
# The swap is shown and asked for; answer no, and nothing has been changed.
set -euo pipefail

assistant=${1:?folder of the assistant, with config.yml, models/ and e2e_tests/}
recipe=${2:-qwen3-4b}
vllm=${3:-$HOME/vllm/bin/python}
port=${PORT:-8000}
url=http://127.0.0.1:$port/v1

cd "$assistant"
rasa-ft prepare-data e2e_tests --student-prompt compact
rasa-ft prompt-stats output
rasa-ft train output --recipe "$recipe"

# It says its address when it answers, and only then.
env -u VLLM_API_KEY rasa-ft serve finetuned_model --vllm "$vllm" --port "$port" > serve.url 2> serve.log &
server=$!
trap 'kill "$server" 2> /dev/null; wait "$server" 2> /dev/null || true' EXIT
until [[ -s serve.url ]]; do
    kill -0 "$server" 2> /dev/null || { cat serve.log >&2; exit 1; }
    sleep 2
done

rasa-ft evaluate output --model finetuned_model --api-base "$url" --model-folder finetuned_model \
    --against-teacher --repeats 3
rasa-ft connect output --model finetuned_model --api-base "$url" --model-folder finetuned_model
rasa train
rasa-ft doctor output
rasa test e2e output/4_train_test_split/e2e_tests/validation
