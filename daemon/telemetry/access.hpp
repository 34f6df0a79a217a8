// Who may ask: the bearer token of a file, and the Host header that a browser must not have been tricked
// into. One thread.
#pragma once

#include "base/error.hpp"
#include "telemetry/file_stamp.hpp"

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace fallbackd::telemetry {

class Token {
 public:
  /// Shorter ones could be guessed.
  static constexpr std::size_t kLeast = 16;

  /// Empty: everyone passes.
  explicit Token(std::string file) : file_(std::move(file)) {}

  [[nodiscard]] bool wanted() const { return !file_.empty(); }
  /// Reads the file where it changed since. Stage telemetry; the earlier token stays in use then.
  Result<> refresh();
  /// Whether an Authorization header holds the token: "Bearer TOKEN", or "Basic" with it as the password,
  /// which browsers ask for by themselves. Takes the same time whatever the difference.
  [[nodiscard]] bool admits(std::string_view authorization) const;

 private:
  std::string file_;
  FileStamp stamp_;
  bool known_ = false;
  std::array<unsigned char, 32> digest_{};  // SHA-256: the lengths do not show in the time either
};

/// An address or localhost. A page of another site that had its own name resolved to 127.0.0.1 sends that
/// name.
bool isLocalHost(std::string_view hostHeader);

/// Whether a client of /metrics would rather have OpenMetrics than the text format.
bool wantsOpenMetrics(std::string_view accept);

}  // namespace fallbackd::telemetry
