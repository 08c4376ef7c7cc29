#include "kvstore/engine/logging.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/null_sink.h>

#include <mutex>
#include <utility>

namespace kvstore::engine {

namespace {

LogLevel level_of(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return LogLevel::kDebug;
  if (level == spdlog::level::info) return LogLevel::kInfo;
  if (level == spdlog::level::warn) return LogLevel::kWarning;
  return LogLevel::kError;
}

class EmbedderSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit EmbedderSink(std::function<void(LogLevel, std::string_view)> target) : sink_(std::move(target)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    try {
      sink_(level_of(message.level), {message.payload.data(), message.payload.size()});
    } catch (...) {  // there is nobody to tell
    }
  }
  void flush_() override {}

  std::function<void(LogLevel, std::string_view)> sink_;
};

}  // namespace

Logger make_logger(const std::function<void(LogLevel, std::string_view)>& sink) {
  spdlog::sink_ptr target = std::make_shared<spdlog::sinks::null_sink_mt>();
  if (sink) target = std::make_shared<EmbedderSink>(sink);
  auto logger = std::make_shared<spdlog::logger>("kvstore", std::move(target));
  logger->set_level(sink ? spdlog::level::debug : spdlog::level::off);
  logger->set_error_handler([](const std::string&) {});  // the default one prints to stderr
  return logger;
}

}  // namespace kvstore::engine
