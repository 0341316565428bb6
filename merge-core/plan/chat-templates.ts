// Chat templates that recipes may name, in Jinja as tokenizers run it. The formats are those of the models they are named after.

const lines = (...parts: readonly string[]): string => parts.join("");

/** By the names that recipes use. */
export const CHAT_TEMPLATES: Readonly<Record<string, string>> = {
  chatml: lines(
    "{% for message in messages %}",
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  ),
  llama3: lines(
    "{% for message in messages %}",
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}",
    "{{ bos_token + content if loop.index0 == 0 else content }}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
  ),
  mistral: lines(
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\\n\\n' %}{% set turns = messages[1:] %}",
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}",
    "{{ bos_token }}",
    "{% for message in turns %}",
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}",
    "{{ raise_exception('roles must alternate: user, assistant, user, assistant, ...') }}",
    "{% endif %}",
    "{% if message['role'] == 'user' %}{{ '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}",
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}",
    "{% else %}{{ raise_exception('only user and assistant may follow the system message') }}{% endif %}",
    "{% endfor %}",
  ),
  alpaca: lines(
    "{{ bos_token }}",
    "{% for message in messages %}",
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}",
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}",
    "{% elif message['role'] == 'input' %}{{ '### Input:\\n' + message['content'] + '\\n\\n' }}",
    "{% elif message['role'] == 'assistant' %}{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}{% endif %}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}",
  ),
  exaone: lines(
    "{% for message in messages %}",
    "{% if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\\n' }}{% endif %}",
    "{{ '[|' + message['role'] + '|]' + message['content'] }}",
    "{% if message['role'] == 'user' %}{{ '\\n' }}{% else %}{{ '[|endofturn|]\\n' }}{% endif %}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}",
  ),
};
