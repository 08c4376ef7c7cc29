// The engine's log lines, through spdlog into the embedder's sink. Without a sink the store is silent (P9):
// no registry, no default logger, nothing on stdout or stderr.
#pragma once

#include <spdlog/logger.h>

#include <functional>
#include <memory>
#include <string_view>

#include "kvstore/options.h"

namespace kvstore::engine {

using Logger = std::shared_ptr<spdlog::logger>;

[[nodiscard]] Logger make_logger(const std::function<void(LogLevel, std::string_view)>& sink);

}  // namespace kvstore::engine
