import Type, { type TSchema } from 'typebox';

// Parts of schemas whose descriptions say, in a refusal, what a field must be.

export const integerFrom = (minimum: number, maximum: number) =>
  Type.Integer({ minimum, maximum, description: `an integer from ${minimum} to ${maximum}` });
export const numberFrom = (minimum: number, maximum: number) =>
  Type.Number({ minimum, maximum, description: `a number from ${minimum} to ${maximum}` });
export const numberBetween = (exclusiveMinimum: number, exclusiveMaximum: number) =>
  Type.Number({ exclusiveMinimum, exclusiveMaximum, description: `a number above ${exclusiveMinimum} and below ${exclusiveMaximum}` });
export const exactly = <Value extends string | number>(value: Value) => Type.Literal(value, { description: JSON.stringify(value) });
export const strict = <Fields extends Record<string, TSchema>>(fields: Fields) =>
  Type.Object(fields, { additionalProperties: false, description: `an object with the fields ${Object.keys(fields).join(', ')}` });
export const textUpTo = (maxLength: number) =>
  Type.String({ minLength: 1, maxLength, description: `a text of 1 to ${maxLength} characters` });
