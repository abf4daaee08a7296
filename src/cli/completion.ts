import { type Command, Option } from 'commander';
import { NusecError } from '../errors.ts';
import { oneOf } from './options.ts';

/** `nusec completion`: scripts for the completion of shells, made from the commands and options there are. */

const shells = ['bash', 'zsh', 'fish'];

/** @param wholeProgram loads every command with its options: the work of this one needs them all, and its help none */
export function registerCompletion(program: Command, wholeProgram: () => Promise<Command>): void {
  program
    .command('completion')
    .description('print a script that completes commands and options')
    .argument('[shell]', shells.join(', '), oneOf(shells))
    .addOption(new Option('--shell <shell>', 'the same').argParser(oneOf(shells)))
    .addHelpText(
      'after',
      `
Examples:
  $ nusec completion bash
  $ nusec completion zsh
  $ nusec completion --shell fish`,
    )
    .action(async (named: string | undefined, options: { shell?: string }) => {
      const shell = named ?? options.shell;
      if (shell === undefined || (options.shell ?? shell) !== shell)
        throw new NusecError('BAD_REQUEST', `name one shell: ${shells.join(', ')}`);
      const words = wordsOf(await wholeProgram());
      process.stdout.write(
        shell === 'fish' ? fish(words) : shell === 'zsh' ? `autoload -U +X bashcompinit && bashcompinit\n${bash(words)}` : bash(words),
      );
    });
}

/** Command so far → what may follow. */
type Words = ReadonlyMap<string, readonly string[]>;

function wordsOf(command: Command, path = 'nusec', words = new Map<string, readonly string[]>()): Words {
  const options = command.options.map(({ long }) => long ?? '').filter(long => long !== '');
  words.set(path, [...command.commands.map(sub => sub.name()), ...options, '--help']);
  for (const sub of command.commands) wordsOf(sub, `${path} ${sub.name()}`, words);
  return words;
}

/** Words of the line that begin with `-` are no commands. */
function bash(words: Words): string {
  const cases = [...words].map(([path, next]) => `    '${path}') next='${next.join(' ')}' ;;`).join('\n');
  return `# nusec: eval "$(nusec completion bash)"
_nusec() {
  local path=nusec next='' word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == [a-z]* ]] && case " $path $word" in ${[...words.keys()]
      .filter(path => path !== 'nusec')
      .map(path => `' ${path}'`)
      .join(' | ')}) path="$path $word" ;; esac
  done
  case "$path" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$next" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _nusec nusec
`;
}

function fish(words: Words): string {
  const lines = [...words].flatMap(([path, next]) => {
    const [, ...commands] = path.split(' ');
    const condition =
      commands.length === 0 ? '__fish_use_subcommand' : commands.map(word => `__fish_seen_subcommand_from ${word}`).join('; and ');
    return next.map(word => `complete -c nusec -n '${condition}' ${word.startsWith('--') ? `-l ${word.slice(2)}` : `-f -a ${word}`}`);
  });
  return `# nusec: nusec completion fish | source\n${lines.join('\n')}\n`;
}
