// The umbrella header: everything an embedding program needs.
#pragma once

#include "kvstore/batch.h"
#include "kvstore/inspect.h"
#include "kvstore/options.h"
#include "kvstore/repair.h"
#include "kvstore/snapshot.h"
#include "kvstore/stats.h"
#include "kvstore/status.h"
#include "kvstore/store.h"
#include "kvstore/transaction.h"
#include "kvstore/version.h"
