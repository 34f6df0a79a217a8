// SPDX-License-Identifier: Apache-2.0
// A registry of one image that fails in a chosen way: what a test needs to see each cause with its own eyes.
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

/// The requests of a pull, in the order in which containerd makes them. `token` makes the registry ask for
/// one.
enum class Asked : std::uint8_t { everything, token, resolve, manifest, config, layer };

/// Where an answer ends too early.
enum class Cut : std::uint8_t { never, before_headers, amid_headers, amid_body, reset_amid_body };

/// How the registry treats those who ask. Several can hold at once.
struct Fault {
  static constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

  /// Whom reset, silent, garbage, status, cut, html and delay meet. Everybody: the connection itself, before
  /// TLS.
  Asked asked = Asked::everything;
  Cut cut = Cut::never;        // the answer, by the end of the connection
  bool html = false;           // 200 and a page, as a captive portal answers
  bool reset = false;          // the connection, as soon as something was sent
  bool silent = false;         // accepted, never answered
  bool garbage = false;        // bytes that are neither HTTP nor TLS
  unsigned status = 0;         // the answer to everything; 0: as a registry should
  std::string challenge = {};  // its WWW-Authenticate, where it has one
  /// Asks for a token, and the token endpoint answers this; 0: nobody is asked for one.
  unsigned tokenStatus = 0;
  bool tokenRefused = false;            // asks for a token at an address where nobody listens
  std::chrono::milliseconds delay{0};   // before each answer
  std::size_t stallAfter = kNever;      // so many bytes of the layer come, then nothing more
  std::size_t bytesPerSecond = kNever;  // of the layer, in even pieces
  bool wrongBytes = false;              // the layer is not what its digest says
  std::string phrase = {};              // stands behind the status, instead of the usual one
  std::string body = {};                // of an answer with a status
  /// A URL to which requests for the layer are redirected; the digest is appended.
  std::string elsewhere = {};
};

/// Speaks plain HTTP, or TLS with the certificate it is given, on 127.0.0.1, in a thread of its own. Any name
/// and tag is the one image.
class FaultRegistry {
 public:
  static Result<std::unique_ptr<FaultRegistry>> start(const Image& image, Fault fault,
                                                      const std::optional<Certificate>& certificate = {});
  FaultRegistry(const FaultRegistry&) = delete;
  FaultRegistry& operator=(const FaultRegistry&) = delete;
  ~FaultRegistry();

  /// For the requests from now on; a stalled answer goes on stalling.
  void set(Fault fault);
  /// "127.0.0.1:PORT"
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// "sha256:..." of the image's manifest.
  [[nodiscard]] std::string digest() const { return "sha256:" + blobs_.manifestDigest; }
  [[nodiscard]] unsigned requests() const { return requests_; }

 private:
  struct Server;
  explicit FaultRegistry(ImageBlobs blobs);
  [[nodiscard]] Fault fault() const;

  ImageBlobs blobs_;
  std::unique_ptr<Server> server_;
  std::uint16_t port_ = 0;
  std::atomic<unsigned> requests_{0};
  mutable std::mutex mutex_;
  Fault fault_;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace fallbackd::e2e
