// SPDX-License-Identifier: Apache-2.0
// The mirror's answer to each request: "not here" (404, or 502), after which containerd goes on to the
// registry, or the node's own copy, if the registry is down. Never writes, never asks a registry for content.
// On the server's thread.
#pragma once

#include "base/clock.hpp"
#include "config/model.hpp"
#include "cri/image_store.hpp"
#include "domain/cause.hpp"
#include "http/access.hpp"
#include "http/server.hpp"
#include "mirror/answers.hpp"
#include "mirror/blob_body.hpp"
#include "mirror/last_seen.hpp"
#include "mirror/served.hpp"
#include "mirror/verdicts.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::mirror {

#define FALLBACKD_MIRROR_RESULTS(X) \
  X(served) X(upstream_well) X(not_here) X(stale) X(excluded) X(no_token) X(failed) X(ping) X(invalid)

/// How a request was answered: the label of a metric.
enum class Outcome : std::uint8_t {
#define X(name) name,
  FALLBACKD_MIRROR_RESULTS(X)
#undef X
};
std::string_view toString(Outcome outcome);

/// An image that was served because its registry is down.
struct ServedImage {
  std::string name;  // as requested
  std::string digest;
  Cause cause = Cause::unknown;
  std::string text;  // of the failure
  std::optional<Wall::time_point>
      lastSeen;  // at the registry; absent: requested by digest, which cannot change
  bool byDigest = false;
  Wall::time_point at;  // the latest time
  Wall::time_point toldAt;
  std::uint64_t times = 1;
};

/// What the mirror did; a copy.
struct View {
  std::map<std::string, std::uint64_t> requests;  // by outcome
  std::uint64_t bytes = 0;
  std::map<std::string, std::uint64_t> checks;
  std::map<std::pair<std::string, std::string>, std::uint64_t> images;  // by "tag" or "digest", and cause
  std::vector<ServedImage> served;                                      // the latest first
};

class Endpoint {
 public:
  struct Outside {
    cri::ImageStore& store;
    Verdicts::Check check;
    /// How a pull of this image failed a moment ago, according to the circuits. Must not block.
    std::function<std::optional<Failing>(const ImageReference&)> recentFailure;
    /// Once for an image, and again after some minutes.
    std::function<void(const ServedImage&)> tell;
    std::function<void(const std::string&)> trouble;
  };
  static constexpr std::size_t kMaxServedKept = 64;

  Endpoint(const boost::asio::any_io_executor& executor, const config::MirrorSettings& settings,
           CauseSet triggers, Verdicts::Validity validity, std::string seenFile, Outside outside);

  boost::asio::awaitable<http::Response> answer(http::Request request);

  /// Any thread.
  [[nodiscard]] View view() const;
  [[nodiscard]] const std::shared_ptr<Served>& served() const { return served_; }

 private:
  using Response = http::Response;
  struct Sticky {
    Failing failing;
    Stamp until;
    std::set<std::string> parts;  // digests named by manifests that came from here
  };

  boost::asio::awaitable<Response> manifest(ImageReference image, http::Request request);
  boost::asio::awaitable<Response> blob(ImageReference image, http::Request request);
  boost::asio::awaitable<Result<cri::StoredContent>> partOf(ImageReference image);
  boost::asio::awaitable<std::optional<Failing>> failingNow(ImageReference image);
  [[nodiscard]] std::optional<Failing> pullUnderWay(const ImageReference& image) const;
  /// The manifest is served; its parts will be asked for.
  void expectParts(const ImageReference& image, const Offer& offer);
  [[nodiscard]] bool isExpected(const ImageReference& image) const;
  [[nodiscard]] bool isTrigger(const std::optional<Failing>& failing) const;
  [[nodiscard]] bool isFreshEnough(const Offer& offer, const std::optional<Wall::time_point>& seen) const;
  /// "Not here"; `failing` if the registry is known to be down.
  Response passOn(Outcome outcome, Code code, std::string why, const std::optional<Failing>& failing = {});
  void noteServed(const ImageReference& image, const Offer& offer, const Failing& failing);
  void count(Outcome outcome);

  const Clock& clock_;
  config::MirrorSettings settings_;
  CauseSet triggers_;
  Outside outside_;
  Verdicts verdicts_;
  LastSeen seen_;
  http::Token token_;
  std::shared_ptr<ReadTurns> turns_;
  std::shared_ptr<Served> served_ = std::make_shared<Served>();
  std::map<std::string, Sticky> sticky_;  // by repository
  mutable std::mutex guard_;
  View view_;  // guarded
};

/// Whether `mirror.images` covers it.
bool isServable(const config::MirrorSettings& settings, const ImageReference& image);

}  // namespace fallbackd::mirror
