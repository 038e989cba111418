/** The words of the picker and the cards, through the translation bundle. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { COLUMNS } from '../../gpunb/notebook/widgets/static/picker/columns.js';
import { headOf } from '../../gpunb/notebook/widgets/static/picker/words.js';

export function pickerWords(trans: TranslationBundle): Record<string, string> {
  return {
    ...Object.fromEntries(COLUMNS.map(one => [one.key, trans.__(headOf(one))])),
    title: trans.__('Offers'),
    hours: trans.__('Hours'),
    budget: trans.__('Budget, $'),
    budget_none: trans.__('default'),
    again: trans.__('Refresh'),
    filters: trans.__('Filters'),
    clear: trans.__('Clear filters'),
    fewer: trans.__('fewer'),
    waiting: trans.__('Asking the clouds…'),
    none: trans.__('No offer passes these filters.'),
    nothing: trans.__('No offers.'),
    gpus: trans.__('GPUs'),
    spot: trans.__('Rental'),
    spot_yes: trans.__('spot'),
    spot_no: trans.__('on demand'),
    no_gpu: trans.__('no GPU'),
    from: trans.__('from'),
    to: trans.__('to'),
    details: trans.__('Why'),
    choose: trans.__('Choose an offer: arrow keys and Enter, or a click.'),
    rent: trans.__('Rent…'),
    confirm_no: trans.__('Not now'),
    asking: trans.__('Asking what it will cost…'),
    cancel: trans.__('Cancel'),
    cancelling: trans.__('Cancelling: waiting until the cloud confirms the end…'),
    goes_on: trans.__('Close does not cancel it: the rental goes on, and the panel at the left shows it.'),
    back: trans.__('Back to the offers'),
    login: trans.__('Log in'),
    keep: trans.__('Save key')
  };
}

export function cardWords(trans: TranslationBundle): Record<string, string> {
  return {
    title: trans.__('Sessions'),
    none: trans.__('No GPUs rented yet. Rent… shows what the clouds offer, and what it costs.'),
    time: trans.__('Time'),
    idle: trans.__('Idle'),
    money: trans.__('Money'),
    never: trans.__('no limit'),
    over: trans.__('over'),
    busy: trans.__('working'),
    extend: trans.__('Extend'),
    extend_time: trans.__('1 h more'),
    extend_idle: trans.__('30 min more'),
    stop: trans.__('Stop'),
    start: trans.__('Start'),
    down: trans.__('Down'),
    no: trans.__('No'),
    asking: trans.__('Asking…'),
    load: trans.__('load'),
    memory: trans.__('memory'),
    no_load: trans.__('No GPU figures yet.'),
    runs: trans.__('Runs'),
    no_runs: trans.__('nothing was run yet'),
    log: trans.__('Log'),
    cancel_run: trans.__('Cancel'),
    transfers: trans.__('Activity'),
    simulated: trans.__('simulated'),
    close: trans.__('Close')
  };
}
