/** What the server sends, made by `make types` from gpunb/server/openapi.yaml: change gpunb/presentation instead. */

export interface components {
    schemas: {
        /** @description What of a saved path came: where it lies, how much, and under which other names. */
        Brought: {
            path: string;
            to: string[];
            files: number;
            bytes: number;
            /** @description path, and the name it took, for another stands here */
            beside: string[][];
            /** @description path, and the name it took, for it could run here */
            held: string[][];
            /** @description path, and the reason why it stayed there */
            left: string[][];
        };
        /** @description A figure of the start check beside the offer's. */
        CheckFigure: {
            what: string;
            offered: string;
            found: string;
            /** @description empty, weak or wrong */
            verdict: string;
        };
        /** @description A cloud that did not answer as it should. */
        CloudFailure: {
            provider: string;
            title?: string;
            message: string;
            reason?: string;
            hint?: string | null;
            /** @description a key would help */
            login: boolean;
        };
        /** @description A cloud that is installed. */
        CloudInfo: {
            name: string;
            title: string;
            /** @description there is a key, or none is needed */
            key: boolean;
            needs_key: boolean;
            /** @description it is among the clouds that offers are asked for by default */
            asked: boolean;
            simulated: boolean;
            /** @description how to log in */
            login: string | null;
            can: string[];
        };
        /** @description An action; its own fields are checked by its own model. */
        ConfirmBody: {
            /** @enum {string} */
            action: "rent" | "extend" | "stop" | "start" | "down";
            session?: string | null;
            /** @description the offer's key */
            offer?: string;
            /** @description added to the deadline */
            hours?: number | null;
            idle_s?: number | null;
            /** @description the new budget for all of it */
            budget_usd?: number | null;
            /** @description null or left out: as searched */
            disk_gb?: number | null;
            name?: string | null;
            /**
             * @description bring back first what --save asked for
             * @default true
             */
            save: boolean;
        };
        /** @description US dollars by what they were for. */
        Cost: {
            gpu: number;
            disk: number;
            bandwidth: number;
            total: number;
        };
        /** @description What the live sessions cost. */
        CostNow: {
            /** @description what the live sessions cost an hour now */
            usd_h: number;
            /** @description what the live sessions have cost */
            total: number;
            /** @description what each has cost, by id */
            sessions: {
                [key: string]: number;
            };
        };
        /** @description What a session, a day or a cloud cost. */
        CostRow: {
            /** @description session id, date or cloud */
            key: string;
            label: string;
            provider?: string | null;
            state?: string | null;
            seconds?: number | null;
            cost: components["schemas"]["Cost"];
            /** @description what the cloud itself says */
            provider_usd?: number | null;
        };
        /** @description What was spent, from the ledger. */
        Costs: {
            by: string;
            rows: components["schemas"]["CostRow"][];
            total: components["schemas"]["Cost"];
            /** @description what the live sessions cost an hour now */
            usd_h: number;
        };
        /** @description Whether to bring files back first. */
        DownBody: {
            token: string | null;
            /**
             * @description bring back first what --save asked for
             * @default true
             */
            save: boolean;
        };
        /** @description No fields. */
        EmptyBody: Record<string, never>;
        Event: {
            n: number;
            /** @constant */
            type: "hello";
            data: components["schemas"]["Hello"];
        } | {
            n: number;
            /** @constant */
            type: "snapshot";
            data: components["schemas"]["Snapshot"];
        } | {
            n: number;
            /** @constant */
            type: "session";
            data: components["schemas"]["Session"];
        } | {
            n: number;
            /** @constant */
            type: "removed";
            data: components["schemas"]["Removed"];
        } | {
            n: number;
            /** @constant */
            type: "cost";
            data: components["schemas"]["CostNow"];
        } | {
            n: number;
            /** @constant */
            type: "run";
            data: components["schemas"]["Run"];
        } | {
            n: number;
            /** @constant */
            type: "transfer";
            data: components["schemas"]["Transfer"];
        } | {
            n: number;
            /** @constant */
            type: "job";
            data: components["schemas"]["Job"];
        } | {
            n: number;
            /** @constant */
            type: "telemetry";
            data: components["schemas"]["SampleOf"];
        } | {
            n: number;
            /** @constant */
            type: "notice";
            data: components["schemas"]["Notice"];
        } | {
            n: number;
            /** @constant */
            type: "supervisor";
            data: components["schemas"]["Supervisor"];
        };
        /** @description What to give a session more of. */
        ExtendBody: {
            /** @description added to the deadline */
            hours?: number | null;
            idle_s?: number | null;
            /** @description the new budget for all of it */
            budget_usd?: number | null;
            token: string | null;
        };
        /** @description A value that offers have, and how many have it. */
        Facet: {
            value: string | number | boolean;
            count: number;
        };
        /** @description The values of all offers, the most frequent first. */
        Facets: {
            gpu: components["schemas"]["Facet"][];
            gpus: components["schemas"]["Facet"][];
            vram_gb: components["schemas"]["Facet"][];
            provider: components["schemas"]["Facet"][];
            region: components["schemas"]["Facet"][];
            trust: components["schemas"]["Facet"][];
            spot: components["schemas"]["Facet"][];
        };
        /** @description A file or a folder of the host. */
        FileEntry: {
            /** @description to show */
            name: string;
            /** @description to ask with */
            path: string;
            /** @enum {string} */
            type: "file" | "directory" | "link" | "other";
            size: number;
            mtime: number;
        };
        /** @description What is in a folder. */
        Files: {
            path: string;
            entries: components["schemas"]["FileEntry"][];
            /** @description there are more than 10,000 */
            truncated: boolean;
        };
        /** @description What nobody can vouch for. */
        Found: {
            orphans: components["schemas"]["Orphan"][];
            unknown: components["schemas"]["InDoubt"][];
        };
        /** @description The load of one GPU. */
        Gpu: {
            name: string;
            /** @description per cent */
            util: number | null;
            /** @description bytes used, and in all */
            memory: [
                number,
                number
            ] | null;
            temp: number | null;
            power: number | null;
        };
        /** @description The first event. */
        Hello: {
            version: string;
            api: number;
        };
        /** @description A session whose bill is in doubt. */
        InDoubt: {
            id: string;
            name: string;
            provider: string;
            says: string;
        };
        /** @description Work that takes time. */
        Job: {
            id: string;
            /** @enum {string} */
            kind: "rent" | "stop" | "start" | "down" | "transfer";
            /** @description null until it is known */
            session: string | null;
            /** @enum {string} */
            state: "queued" | "running" | "cancelling" | "done" | "failed" | "cancelled";
            title: string;
            done: number | null;
            total: number | null;
            unit: string;
            says: string;
            error: components["schemas"]["Problem"] | null;
            /** @description a receipt (down), or the transfer's report */
            result: {
                [key: string]: unknown;
            } | null;
            started: number;
            ended: number | null;
        };
        /** @description When a session ends by itself. */
        Lease: {
            deadline: number | null;
            idle_s: number | null;
            /** @description null also while something runs */
            idle_ends: number | null;
            budget_usd: number | null;
            /** @description the earliest end if nothing runs from now on */
            ends: number | null;
            /** @enum {string} */
            ends_by: "time" | "idle" | "money" | "";
            /** @description the end is near */
            soon: boolean;
        };
        /** @description What a run has printed since a record. */
        Log: {
            records: components["schemas"]["LogRecord"][];
            /** @description the records' output as one text, without colours, overwritten lines as they ended */
            text: string;
            /** @description the same with its ANSI colours */
            coloured: string;
            /** @description ask from here next time */
            next: number;
            /** @description nothing more will come */
            ended: boolean;
            state: string;
        };
        /** @description A piece of what a run has printed. */
        LogRecord: {
            n: number;
            /** @enum {string} */
            kind: "stdout" | "stderr" | "result" | "display" | "error" | "input" | "note" | "end";
            /** @description lines, tabs and ANSI colours stay; other control characters do not */
            text: string;
        };
        /** @description A key that was checked and kept. */
        LoggedIn: {
            provider: string;
            account: string;
            balance_usd: number | null;
            /** @description where the key is kept */
            stored: string;
            /** @description what beats it, if something does */
            warning: string | null;
        };
        /** @description A cloud and its key. */
        LoginBody: {
            provider: string;
            key: string;
        };
        /** @description Something to read now. */
        Notice: {
            /** @enum {string} */
            tone: "ok" | "info" | "warn" | "bad";
            text: string;
            session: string | null;
            actions: ("extend" | "start" | "down" | "login")[];
            at: number;
        };
        /** @description Something that can be rented now. */
        Offer: {
            /** @description names it among those of all clouds */
            key: string;
            provider: string;
            offer_id: string;
            gpu: string;
            gpus: number;
            vram_gb: number | null;
            region: string;
            country: string;
            kind: string;
            spot: boolean;
            reserved: boolean;
            trust: string;
            verified: boolean;
            cpu: string;
            cores: number | null;
            ram_gb: number | null;
            /** @description the most that can be had; null is no limit */
            disk_gb: number | null;
            /** @description with the disk */
            usd_h: number | null;
            /** @description what total_usd is made of */
            parts: components["schemas"]["Parts"];
            total_usd: number | null;
            reliability: number | null;
            ready_s: number | null;
            why: string;
        };
        /** @description What the clouds answered. */
        Offers: {
            offers: components["schemas"]["Offer"][];
            facets: components["schemas"]["Facets"];
            failed: components["schemas"]["CloudFailure"][];
            /** @description how many fit before the limit */
            matched: number;
            hours: number;
            disk_gb: number;
        };
        /** @description What to search. */
        OffersBody: {
            /**
             * @description as `gpunb offers` takes it: vram >= 80 and country in EU
             * @default
             */
            query: string;
            /**
             * @description models, with commas
             * @default
             */
            gpu: string;
            /** @description null or left out: the setting */
            hours?: number | null;
            /** @description null or left out: the setting */
            disk_gb?: number | null;
            /**
             * @description null or left out: the setting; `all` is every installed one
             * @default []
             */
            clouds: string[];
            /**
             * @description spot: may be taken back, cheaper; reserved: paid ahead for a month or more
             * @default on-demand
             * @enum {string}
             */
            rental: "on-demand" | "spot" | "reserved";
            /** @default 10000 */
            limit: number;
        };
        /** @description An instance of no session. */
        Orphan: {
            provider: string;
            instance_id: string;
            label: string;
            ours: boolean;
            usd_h: number;
            says: string;
        };
        /** @description What a total is made of. */
        Parts: {
            gpu: number | null;
            disk: number | null;
            bandwidth: number | null;
        };
        /** @description A path of the host. */
        Place: {
            /** @description where it is, or was */
            path: string;
        };
        /** @description A port of the host that is forwarded to the server's machine, or the other way. */
        Port: {
            host_port: number;
            local_port: number;
            /** @description reached from the server's machine only */
            link: string;
            reverse: boolean;
            /** @description this server holds it */
            here: boolean;
            since: number;
        };
        /** @description A port of the host. */
        PortBody: {
            port: number;
        };
        /** @description What happened, what it means for the bill, what to do next. */
        Problem: {
            message: string;
            /** @description a word for programs: BadInput, SessionNotFound, AuthFailed, ConfirmationNeeded, … */
            reason: string;
            /** @description what to do next */
            hint: string | null;
            /** @description what it means for the bill */
            bill: string | null;
        };
        /** @description What an action would cost, and the token to carry it out. */
        Question: {
            token: string;
            /** @description one sentence, with the money */
            says: string;
            /** @description what it adds to the bill; null if no length is known */
            usd: number | null;
            expires_s: number;
        };
        /** @description What a session was, cost and left behind. */
        Receipt: {
            session_id: string;
            name: string;
            provider: string;
            instance_id: string;
            gpu: string;
            gpus: number;
            started: number;
            ended: number;
            /** @description when the cloud agreed that it is gone */
            confirmed: number | null;
            cost: components["schemas"]["Cost"];
            /** @description what the cloud itself says */
            provider_usd: number | null;
            /** @description the cloud has figures and had charged nothing for it yet */
            not_billed: boolean;
            /** @description the assumption about its billing that the cloud's figure speaks against */
            contradicts: string;
            runs: components["schemas"]["ReceiptRun"][];
            saved: string[];
            /** @description path, and the reason */
            unsaved: string[][];
            brought: components["schemas"]["Brought"][];
            /** @description null without a check */
            check: components["schemas"]["StartCheck"] | null;
            /** @description what ended it: down, deadline, idle, budget, … */
            why: string;
            /** @description the agent that rented it; empty for a person */
            agent: string;
        };
        /** @description A run of a session that is over. */
        ReceiptRun: {
            id?: string;
            kind?: string;
            name?: string;
            state?: string;
            seconds?: number | null;
        };
        /** @description A session that is over; GET receipts has its receipt. */
        Removed: {
            id: string;
            name: string;
            state: string;
        };
        /** @description Another path on the host. */
        RenameBody: {
            /** @description the new path */
            to: string;
        };
        /** @description What to rent, and until when. */
        RentBody: {
            /** @description the offer's key */
            offer: string;
            hours: number;
            /** @description null or left out: the setting */
            idle_s?: number | null;
            /** @description null or left out: the setting */
            budget_usd?: number | null;
            /** @description null or left out: as searched */
            disk_gb?: number | null;
            name?: string | null;
            token: string | null;
        };
        /** @description A cell or a job on the host. */
        Run: {
            id: string;
            session: string;
            session_name: string;
            kind: string;
            name: string;
            state: string;
            started: number | null;
            ended: number | null;
            seconds: number | null;
            /** @description what its machine cost while it executed */
            usd: number | null;
            exit_code: number | null;
            front: string;
        };
        /** @description The load of a host at one time. */
        Sample: {
            /** @description by the host's clock */
            at: number;
            /** @description per cent */
            cpu: number | null;
            /** @description bytes used, and in all */
            memory: [
                number,
                number
            ] | null;
            /** @description bytes used, and in all */
            disk: [
                number,
                number
            ] | null;
            /** @description bytes a second in and out */
            net: [
                number,
                number
            ] | null;
            gpus: components["schemas"]["Gpu"][];
        };
        /** @description A session's latest load. */
        SampleOf: {
            session: string;
            sample: components["schemas"]["Sample"];
        };
        /** @description A session with its ports and its load. */
        Session: {
            id: string;
            name: string;
            provider: string;
            simulated: boolean;
            /** @enum {string} */
            state: "requested" | "creating" | "booting" | "reachable" | "ready" | "stopped" | "ending" | "gone" | "failed" | "unknown";
            detail: string;
            /** @enum {string} */
            tone: "ok" | "info" | "warn" | "bad" | "dim";
            gpu: string;
            gpus: number;
            trust: string;
            host: string;
            port: number | null;
            /** @description in the present state */
            usd_h: number | null;
            cost: components["schemas"]["Spent"];
            lease: components["schemas"]["Lease"];
            created: number | null;
            ready: number | null;
            ended: number | null;
            runs_active: number;
            /** @description the agent that rented it; empty for a person */
            agent: string;
            /** @description what to type or to click now */
            next: string;
            can: ("extend" | "stop" | "start" | "down")[];
            ports: components["schemas"]["Port"][];
            load: components["schemas"]["Sample"] | null;
        };
        /** @description A session as its card shows it, and what can be done with it. */
        SessionCard: {
            id: string;
            name: string;
            provider: string;
            simulated: boolean;
            /** @enum {string} */
            state: "requested" | "creating" | "booting" | "reachable" | "ready" | "stopped" | "ending" | "gone" | "failed" | "unknown";
            detail: string;
            /** @enum {string} */
            tone: "ok" | "info" | "warn" | "bad" | "dim";
            gpu: string;
            gpus: number;
            trust: string;
            host: string;
            port: number | null;
            /** @description in the present state */
            usd_h: number | null;
            cost: components["schemas"]["Spent"];
            lease: components["schemas"]["Lease"];
            created: number | null;
            ready: number | null;
            ended: number | null;
            runs_active: number;
            /** @description the agent that rented it; empty for a person */
            agent: string;
            /** @description what to type or to click now */
            next: string;
            can: ("extend" | "stop" | "start" | "down")[];
        };
        /** @description A line of a session's history. */
        SessionEvent: {
            at: number;
            kind: string;
            state: string;
            detail: string;
        };
        /** @description How a session stands. */
        SessionFacts: {
            id: string;
            name: string;
            provider: string;
            simulated: boolean;
            /** @enum {string} */
            state: "requested" | "creating" | "booting" | "reachable" | "ready" | "stopped" | "ending" | "gone" | "failed" | "unknown";
            detail: string;
            /** @enum {string} */
            tone: "ok" | "info" | "warn" | "bad" | "dim";
            gpu: string;
            gpus: number;
            trust: string;
            host: string;
            port: number | null;
            /** @description in the present state */
            usd_h: number | null;
            cost: components["schemas"]["Spent"];
            lease: components["schemas"]["Lease"];
            created: number | null;
            ready: number | null;
            ended: number | null;
            runs_active: number;
            /** @description the agent that rented it; empty for a person */
            agent: string;
            /** @description what to type or to click now */
            next: string;
        };
        /** @description A session and its history. */
        SessionWhole: {
            id: string;
            name: string;
            provider: string;
            simulated: boolean;
            /** @enum {string} */
            state: "requested" | "creating" | "booting" | "reachable" | "ready" | "stopped" | "ending" | "gone" | "failed" | "unknown";
            detail: string;
            /** @enum {string} */
            tone: "ok" | "info" | "warn" | "bad" | "dim";
            gpu: string;
            gpus: number;
            trust: string;
            host: string;
            port: number | null;
            /** @description in the present state */
            usd_h: number | null;
            cost: components["schemas"]["Spent"];
            lease: components["schemas"]["Lease"];
            created: number | null;
            ready: number | null;
            ended: number | null;
            runs_active: number;
            /** @description the agent that rented it; empty for a person */
            agent: string;
            /** @description what to type or to click now */
            next: string;
            can: ("extend" | "stop" | "start" | "down")[];
            ports: components["schemas"]["Port"][];
            load: components["schemas"]["Sample"] | null;
            events: components["schemas"]["SessionEvent"][];
        };
        /** @description A setting and where it comes from. */
        SettingRow: {
            key: string;
            value: unknown;
            source: string;
            about: string;
            /** @description it comes from the user's own file, or would if it were written there */
            own: boolean;
        };
        /** @description The settings that hold. */
        Settings: {
            settings: components["schemas"]["SettingRow"][];
            user_file: string;
            project_file: string | null;
            /** @description what the project's file asks for and may not set, and why */
            refused: string[];
        };
        /** @description Settings to write; null takes one out of the file. What they may be, `gpunb.settings` says. */
        SettingsPatchBody: {
            clouds?: string[] | null;
            hours?: number | string | null;
            /** @description 15m, 2h */
            idle?: string | null;
            budget?: number | string | null;
            disk_gb?: number | null;
            python?: string | null;
            save?: string[] | null;
            cell_timeout?: string | null;
            log_level?: string | null;
        };
        /** @description All that is known; it replaces what was known before. */
        Snapshot: {
            /** @description the live ones */
            sessions: components["schemas"]["Session"][];
            jobs: components["schemas"]["Job"][];
            transfers: components["schemas"]["Transfer"][];
            cost: components["schemas"]["CostNow"];
            supervisor: components["schemas"]["Supervisor"];
            found: components["schemas"]["Found"];
            /** @description the latest */
            notices: components["schemas"]["Notice"][];
        };
        /** @description The same of a session that goes on. */
        Spent: {
            gpu: number | null;
            disk: number | null;
            bandwidth: number | null;
            total: number | null;
        };
        /** @description Nothing but the token. */
        StartBody: {
            token: string | null;
        };
        /** @description Whether a machine is what its offer said. */
        StartCheck: {
            figures: components["schemas"]["CheckFigure"][];
            /** @description what ended the rental */
            wrong: string[];
            /** @description what is worse than offered */
            weak: string[];
            /** @description what could not be compared */
            notes: string[];
            took_s: number;
        };
        /** @description The server, its supervisor, what was found at its start, the clouds. */
        Status: {
            version: string;
            api: number;
            user: string;
            supervisor: components["schemas"]["Supervisor"];
            found: components["schemas"]["Found"];
            /** @description simulated clouds stand in for real ones */
            simulated: boolean;
            clouds: components["schemas"]["CloudInfo"][];
        };
        /** @description Nothing but the token. */
        StopBody: {
            token: string | null;
        };
        /** @description Who ends sessions when their lease is over. */
        Supervisor: {
            /** @description whether a supervisor ends sessions when their lease is over */
            alive: boolean;
            /** @description this server does */
            here: boolean;
            kind: string | null;
            pid: number | null;
            heartbeat: number | null;
            /** @description why it does not run here */
            error: string | null;
        };
        /** @description A host's load over time, as one list each. */
        Telemetry: {
            session: string;
            latest: components["schemas"]["Sample"] | null;
            at: number[];
            /** @description for each GPU its load at those times, per cent */
            gpu: (number | null)[][];
            /** @description for each GPU, per cent */
            gpu_memory: (number | null)[][];
            cpu: (number | null)[];
            /** @description per cent */
            memory: (number | null)[];
        };
        /** @description Files or variables that moved. */
        Transfer: {
            id: string;
            session: string;
            session_name: string;
            /** @enum {string} */
            direction: "up" | "down";
            what: string;
            bytes: number;
            files: number;
            state: string;
            started: number;
            ended: number | null;
        };
        /** @description Two sides, one of them on the host. */
        TransferBody: {
            /** @description one of the two begins with a colon: that one is on the host */
            source: string;
            /** @description the other is on the server, from its root folder */
            target: string;
            /** @default false */
            dry_run: boolean;
        };
    };
    responses: {
        /** @description what happened, what it means for the bill, what to do next */
        Error: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/json": components["schemas"]["Problem"];
            };
        };
        /** @description begun, or joined */
        Job: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/json": {
                    job: components["schemas"]["Job"];
                };
            };
        };
        /** @description ok */
        Ports: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/json": {
                    ports: components["schemas"]["Port"][];
                };
            };
        };
    };
    parameters: {
        /** @description a session's id, or its name */
        session: string;
        run: string;
        /** @description from the host's home folder, or from its root with a slash first */
        path: string;
    };
    requestBodies: {
        Empty: {
            content: {
                "application/json": components["schemas"]["EmptyBody"];
            };
        };
        Confirmed: {
            content: {
                "application/json": components["schemas"]["StopBody"];
            };
        };
    };
    headers: never;
    pathItems: never;
}
export type Brought = components['schemas']['Brought'];
export type CheckFigure = components['schemas']['CheckFigure'];
export type CloudFailure = components['schemas']['CloudFailure'];
export type CloudInfo = components['schemas']['CloudInfo'];
export type ConfirmBody = components['schemas']['ConfirmBody'];
export type Cost = components['schemas']['Cost'];
export type CostNow = components['schemas']['CostNow'];
export type CostRow = components['schemas']['CostRow'];
export type Costs = components['schemas']['Costs'];
export type DownBody = components['schemas']['DownBody'];
export type EmptyBody = components['schemas']['EmptyBody'];
export type Event = components['schemas']['Event'];
export type ExtendBody = components['schemas']['ExtendBody'];
export type Facet = components['schemas']['Facet'];
export type Facets = components['schemas']['Facets'];
export type FileEntry = components['schemas']['FileEntry'];
export type Files = components['schemas']['Files'];
export type Found = components['schemas']['Found'];
export type Gpu = components['schemas']['Gpu'];
export type Hello = components['schemas']['Hello'];
export type InDoubt = components['schemas']['InDoubt'];
export type Job = components['schemas']['Job'];
export type Lease = components['schemas']['Lease'];
export type Log = components['schemas']['Log'];
export type LogRecord = components['schemas']['LogRecord'];
export type LoggedIn = components['schemas']['LoggedIn'];
export type LoginBody = components['schemas']['LoginBody'];
export type Notice = components['schemas']['Notice'];
export type Offer = components['schemas']['Offer'];
export type Offers = components['schemas']['Offers'];
export type OffersBody = components['schemas']['OffersBody'];
export type Orphan = components['schemas']['Orphan'];
export type Parts = components['schemas']['Parts'];
export type Place = components['schemas']['Place'];
export type Port = components['schemas']['Port'];
export type PortBody = components['schemas']['PortBody'];
export type Problem = components['schemas']['Problem'];
export type Question = components['schemas']['Question'];
export type Receipt = components['schemas']['Receipt'];
export type ReceiptRun = components['schemas']['ReceiptRun'];
export type Removed = components['schemas']['Removed'];
export type RenameBody = components['schemas']['RenameBody'];
export type RentBody = components['schemas']['RentBody'];
export type Run = components['schemas']['Run'];
export type Sample = components['schemas']['Sample'];
export type SampleOf = components['schemas']['SampleOf'];
export type Session = components['schemas']['Session'];
export type SessionCard = components['schemas']['SessionCard'];
export type SessionEvent = components['schemas']['SessionEvent'];
export type SessionFacts = components['schemas']['SessionFacts'];
export type SessionWhole = components['schemas']['SessionWhole'];
export type SettingRow = components['schemas']['SettingRow'];
export type Settings = components['schemas']['Settings'];
export type SettingsPatchBody = components['schemas']['SettingsPatchBody'];
export type Snapshot = components['schemas']['Snapshot'];
export type Spent = components['schemas']['Spent'];
export type StartBody = components['schemas']['StartBody'];
export type StartCheck = components['schemas']['StartCheck'];
export type Status = components['schemas']['Status'];
export type StopBody = components['schemas']['StopBody'];
export type Supervisor = components['schemas']['Supervisor'];
export type Telemetry = components['schemas']['Telemetry'];
export type Transfer = components['schemas']['Transfer'];
export type TransferBody = components['schemas']['TransferBody'];
export type ResponseError = components['responses']['Error'];
export type ResponseJob = components['responses']['Job'];
export type ResponsePorts = components['responses']['Ports'];
export type ParameterSession = components['parameters']['session'];
export type ParameterRun = components['parameters']['run'];
export type ParameterPath = components['parameters']['path'];
export type RequestBodyEmpty = components['requestBodies']['Empty'];
export type RequestBodyConfirmed = components['requestBodies']['Confirmed'];
