/** The address of another module beside the one that asks, for starting it as a process or worker: sources and compiled files differ in their ending.
 *  @param here `import.meta.url` of the one that asks @param name without ending */
export function moduleBeside(here: string, name: string): URL {
  return new URL(`./${name}${here.endsWith('.ts') ? '.ts' : '.js'}`, here);
}
