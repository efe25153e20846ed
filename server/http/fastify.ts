import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox';
import Fastify from 'fastify';

/** Of a body that is read at once; recordings of a form are read one by one, with limits of their own. */
const bodyLimitBytes = 8 * 2 ** 20;

/** The web framework as this service uses it: schemas are types, logs go to stderr and hold no secret. @param logLevel a level of pino, or `silent` */
export function createFastify(logLevel: string) {
  const logger = { level: logLevel, stream: process.stderr, redact: ['req.headers.authorization'] };
  return Fastify({ logger: logLevel === 'silent' ? false : logger, bodyLimit: bodyLimitBytes, forceCloseConnections: true })
    .withTypeProvider<TypeBoxTypeProvider>()
    .setValidatorCompiler(TypeBoxValidatorCompiler);
}

export type App = ReturnType<typeof createFastify>;
