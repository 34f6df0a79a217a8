// SPDX-License-Identifier: Apache-2.0
// A server's certificate and key, read again when their files change. One thread.
#pragma once

#include "base/error.hpp"
#include "http/file_stamp.hpp"

#include <memory>
#include <string>
#include <utility>

#include <boost/asio/ssl/context.hpp>

namespace fallbackd::http {

class TlsFiles {
 public:
  using Context = std::shared_ptr<boost::asio::ssl::context>;
  struct Paths {
    std::string certificate;  // PEM, the server's first, then the chain to the root
    std::string key;          // PEM, without a password
  };

  explicit TlsFiles(Paths paths) : paths_(std::move(paths)) {}

  /// Reads both if they have changed, or could not be read. Stage telemetry; on failure the earlier context
  /// stays in use.
  Result<> refresh();
  /// For new connections; null before the first successful refresh().
  [[nodiscard]] Context context() const { return context_; }

 private:
  Result<> use(const std::string& chainPem, const std::string& keyPem);

  Paths paths_;
  FileStamp certificate_;
  FileStamp key_;
  Context context_;
};

}  // namespace fallbackd::http
