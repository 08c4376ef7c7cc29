// The umbrella header: everything an embedding program needs, but for nlohmann/json documents: json.h.
#pragma once

#include "kvstore/batch.h"
#include "kvstore/inspect.h"
#include "kvstore/json_writer.h"
#include "kvstore/options.h"
#include "kvstore/pools.h"
#include "kvstore/repair.h"
#include "kvstore/snapshot.h"
#include "kvstore/stats.h"
#include "kvstore/status.h"
#include "kvstore/store.h"
#include "kvstore/transaction.h"
#include "kvstore/version.h"
