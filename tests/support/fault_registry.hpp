// SPDX-License-Identifier: Apache-2.0
// A registry with one image that fails in a chosen way, so that a test can produce each cause for real.
#pragma once

#include "base/error.hpp"
#include "certificate.hpp"
#include "image.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace fallbackd::e2e {

/// The requests of a pull, in containerd's order. `token` makes the registry require one.
enum class Asked : std::uint8_t { everything, token, resolve, manifest, config, layer };

/// Where an answer ends too early.
enum class Cut : std::uint8_t { never, before_headers, amid_headers, amid_body, reset_within_body };

/// How the registry treats its clients. Several faults can be active at once.
struct RegistryFault {
  static constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

  /// The requests that reset, silent, garbage, status, cut, html and delay apply to. `everything`: the
  /// connection itself, before TLS.
  Asked asked = Asked::everything;
  Cut cut = Cut::never;        // closes the connection in the middle of the answer
  bool html = false;           // 200 and a page, like a captive portal
  bool reset = false;          // resets the connection once the client has sent something
  bool silent = false;         // accepts, never answers
  bool garbage = false;        // bytes that are neither HTTP nor TLS
  unsigned status = 0;         // answers everything with it; 0: answers as a registry should
  std::string challenge = {};  // its WWW-Authenticate, if any
  /// Requires a token, and the token endpoint answers with this status; 0: requires none.
  unsigned tokenStatus = 0;
  bool tokenRefused = false;            // requires a token from an address where nothing listens
  std::chrono::milliseconds delay{0};   // before each answer
  std::size_t stallAfter = kNever;      // sends this many bytes of the layer, then nothing more
  std::size_t bytesPerSecond = kNever;  // of the layer, in equal pieces
  bool wrongBytes = false;              // the layer does not match its digest
  bool index = false;                   // tags name an index; the other platform's manifest does not exist
  std::string phrase = {};              // the reason phrase, instead of the usual one
  std::string body = {};                // of an answer with a status
  /// A URL to which requests for the layer are redirected; the digest is appended.
  std::string elsewhere = {};
};

/// Serves plain HTTP, or TLS with the given certificate, on 127.0.0.1, in its own thread. Every name and tag
/// gives the same image.
class FaultRegistry {
 public:
  static Result<std::unique_ptr<FaultRegistry>> start(const Image& image, RegistryFault fault,
                                                      const std::optional<Certificate>& certificate = {});
  FaultRegistry(const FaultRegistry&) = delete;
  FaultRegistry& operator=(const FaultRegistry&) = delete;
  ~FaultRegistry();

  /// Applies to all later requests; a stalled answer stays stalled.
  void set(RegistryFault fault);
  /// Slow answers, including current ones, send the rest of their layer at once.
  void stopCrawling() { hurry_ = true; }
  /// "127.0.0.1:PORT"
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// "sha256:..." of the image's manifest.
  [[nodiscard]] std::string digest() const { return "sha256:" + blobs_.manifestDigest; }
  /// The digest of the index.
  [[nodiscard]] std::string indexDigest() const { return "sha256:" + blobs_.indexDigest; }
  [[nodiscard]] unsigned requests() const { return requests_; }

 private:
  struct Server;
  explicit FaultRegistry(ImageBlobs blobs);
  [[nodiscard]] RegistryFault fault() const;

  ImageBlobs blobs_;
  std::unique_ptr<Server> server_;
  std::uint16_t port_ = 0;
  std::atomic<unsigned> requests_{0};
  std::atomic<bool> hurry_{false};
  mutable std::mutex mutex_;
  RegistryFault fault_;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace fallbackd::e2e
