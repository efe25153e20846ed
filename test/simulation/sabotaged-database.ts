import type { Database } from '../../server/store/database.js';
import type { Sabotage } from './sabotage.js';

const isWrite = (statement: string) => /^\s*(INSERT|UPDATE|DELETE)/i.test(statement);

/** A database whose transactions can be made to fail when they are to be committed, as a full or broken disk would. */
export function sabotagedDatabase(database: Database, sabotage: Sabotage): Database {
  let isInTransaction = false;
  const fail = () => {
    throw new Error('database or disk is full');
  };
  const exec = (statement: string) => {
    if (statement === 'COMMIT' && sabotage.strikes('transaction')) fail();
    isInTransaction = statement.startsWith('BEGIN');
    database.exec(statement);
  };
  const prepare = (statement: string) => {
    const prepared = database.prepare(statement);
    if (!isWrite(statement)) return prepared;
    return new Proxy(prepared, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...values: unknown[]) => {
          if (name === 'run' && !isInTransaction && sabotage.strikes('transaction')) fail();
          return value.apply(target, values);
        };
      },
    });
  };
  return new Proxy(database, {
    get: (target, name) => {
      if (name === 'exec') return exec;
      if (name === 'prepare') return prepare;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
