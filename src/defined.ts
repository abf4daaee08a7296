type Defined<Fields> = { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> };

/** Leaves out what is undefined: a field that is not there says something else than one that is. */
export const definedOf = <Fields extends object>(record: Fields): Defined<Fields> =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Defined<Fields>;
