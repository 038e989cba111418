/** Made by `make types` from gpunb/presentation/receipt_columns.py: change that. */

export const RECEIPT_COLUMNS = [
  { key: 'name', label: 'Session', form: 'name', right: false },
  { key: 'gpu', label: 'GPU', form: 'gpu', right: false },
  { key: 'provider', label: 'Cloud', form: 'text', right: false },
  { key: 'started', label: 'Started', form: 'time', right: false },
  { key: 'ended', label: 'Ended', form: 'time', right: false },
  { key: 'ended', label: 'Duration', form: 'duration', right: true },
  { key: 'cost', label: 'Cost', form: 'money', right: true },
  { key: 'provider_usd', label: 'Billed', form: 'billed', right: true },
  { key: 'why', label: 'Ended by', form: 'why', right: false },
  { key: 'confirmed', label: 'Gone', form: 'gone', right: false },
  { key: 'agent', label: 'Agent', form: 'text', right: false }
] as const;

export const ENDED_BY: Record<string, string> = {
  down: 'you',
  deadline: 'its time limit',
  idle: 'its idle limit',
  budget: 'its budget'
};
