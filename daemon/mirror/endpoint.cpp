// SPDX-License-Identifier: Apache-2.0
#include "mirror/endpoint.hpp"

#include <algorithm>
#include <chrono>

namespace fallbackd::mirror {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// From the first answer of a pull to its last request. What a digest names is the same wherever it comes
// from.
constexpr auto kPullUnderWay = 60s;
constexpr auto kTellAgain = 5min;
constexpr std::size_t kMaxSticky = 1024;
constexpr std::size_t kMaxParts = 4096;  // of a repository

std::string nameOf(const ImageReference& image) {
  return image.toString();
}

}  // namespace

std::string_view toString(Outcome outcome) {
  switch (outcome) {
#define X(name)       \
  case Outcome::name: \
    return #name;
    FALLBACKD_MIRROR_RESULTS(X)
#undef X
  }
  return "failed";
}

bool isServable(const config::MirrorSettings& settings, const ImageReference& image) {
  const auto repository = image.repository();
  return settings.images.empty() ||
         std::any_of(settings.images.begin(), settings.images.end(), [&](const std::string& one) {
           return repository == one || repository.starts_with(one + "/");
         });
}

Endpoint::Endpoint(const asio::any_io_executor& executor, const config::MirrorSettings& settings,
                   CauseSet triggers, Verdicts::Validity validity, std::string seenFile, Outside outside)
    : clock_(LoopClock::of(executor)),
      settings_(settings),
      triggers_(std::move(triggers)),
      outside_(std::move(outside)),
      verdicts_(executor, outside_.check, validity),
      seen_(std::move(seenFile)),
      token_(settings.tokenFile),
      turns_(std::make_shared<ReadTurns>(executor)) {
  for (const auto outcome : {
#define X(name) Outcome::name,
           FALLBACKD_MIRROR_RESULTS(X)
#undef X
       }) {
    view_.requests[std::string(toString(outcome))] = 0;
  }
  const auto loaded = seen_.load();
  if (!loaded && outside_.trouble) outside_.trouble("the mirror: " + loaded.error().message());
}

void Endpoint::count(Outcome outcome) {
  const std::lock_guard lock(guard_);
  ++view_.requests[std::string(toString(outcome))];
}

/// containerd goes on to the next host after a 404; anything else may become the pull's error.
/// To containerd 2 a 404 weighs more than a registry that cannot be reached: the pull would end as "not
/// found", and the outage would be hidden. A 502 weighs more still, and containerd asks the next host after
/// it.
Endpoint::Response Endpoint::passOn(Outcome outcome, Code code, std::string why,
                                    const std::optional<Failing>& failing) {
  count(outcome);
  if (failing) why += "; its registry is down: " + failing->text;
  return errorAnswer(failing ? 502 : 404, code, why);
}

asio::awaitable<http::Response> Endpoint::answer(http::Request request) {
  auto asked = askedBy(request.path, request.query);
  if (!asked) co_return passOn(Outcome::invalid, Code::unsupported, "not a request of a pull");
  const auto refreshed = token_.refresh();
  if (!refreshed && outside_.trouble) outside_.trouble("the mirror: " + refreshed.error().message());
  if (asked->kind == Asked::Kind::base) {
    count(Outcome::ping);
    co_return baseAnswer(token_.admits(request.authorization) ? Holder::yes : Holder::no);
  }
  // No challenge here: containerd would answer one with the registry's password.
  if (!token_.admits(request.authorization)) {
    co_return passOn(Outcome::no_token, Code::name_unknown, "not here");
  }
  if (!isServable(settings_, *asked->image)) {
    const auto failing = co_await failingNow(*asked->image);
    co_return passOn(Outcome::excluded, Code::name_unknown, "mirror.images does not have it", failing);
  }
  if (asked->kind == Asked::Kind::blob) co_return co_await blob(std::move(*asked->image), std::move(request));
  co_return co_await manifest(std::move(*asked->image), std::move(request));
}

bool Endpoint::isTrigger(const std::optional<Failing>& failing) const {
  return failing && triggers_.contains(failing->cause);
}

/// A pull whose manifest came from here gets the rest from here, too.
std::optional<Failing> Endpoint::pullUnderWay(const ImageReference& image) const {
  const auto found = sticky_.find(image.repository());
  return found != sticky_.end() && clock_.now() < found->second.until ? std::optional(found->second.failing)
                                                                      : std::nullopt;
}

/// Empty: the registry is healthy.
asio::awaitable<std::optional<Failing>> Endpoint::failingNow(ImageReference image) {
  auto verdict = co_await verdicts_.of(image.host());
  {
    const std::lock_guard lock(guard_);
    view_.checks = verdicts_.counts();
  }
  if (isTrigger(verdict.failing)) co_return std::move(verdict.failing);
  auto recent = outside_.recentFailure(image);
  if (isTrigger(recent)) co_return recent;
  co_return std::nullopt;
}

bool Endpoint::isFreshEnough(const Offer& offer, const std::optional<Wall::time_point>& seen) const {
  if (!offer.updatedAt || settings_.cached == config::ServeCached::always) return true;
  if (settings_.cached == config::ServeCached::never || !seen) return false;
  return clock_.wall() <= later(*seen, settings_.maxAge);
}

asio::awaitable<http::Response> Endpoint::manifest(ImageReference image, http::Request request) {
  const bool byDigest = !image.digest().empty();
  // A pull begins with a HEAD; what follows it is asked for by digest.
  const bool begins = request.method == http::Request::Method::head || !byDigest;
  auto failing = begins ? std::nullopt : pullUnderWay(image);
  const auto well = [&] {
    const auto saved = byDigest ? Result<>() : seen_.passedOn(nameOf(image), clock_.wall());
    if (!saved && outside_.trouble) outside_.trouble("the mirror: " + saved.error().message());
    return passOn(Outcome::upstream_well, Code::manifest_unknown, "the registry is healthy: ask it");
  };
  // Before the store: while the registry is healthy, as it usually is, containerd is not queried.
  if (!failing) failing = co_await failingNow(image);
  if (!failing) co_return well();
  auto offer = co_await offerOf(outside_.store, image, Platform::own());
  if (!offer) {
    const auto outcome = offer.error().reason == Reason::not_found ? Outcome::not_here : Outcome::failed;
    co_return passOn(outcome, Code::manifest_unknown, "the node cannot complete it: " + offer.error().context,
                     failing);
  }
  if (!isFreshEnough(*offer, byDigest ? std::nullopt : seen_.of(nameOf(image), offer->updatedAt))) {
    co_return passOn(Outcome::stale, Code::manifest_unknown, "mirror.cached does not allow it: it is too old",
                     failing);
  }
  if (begins) noteServed(image, *offer, *failing);
  expectParts(image, *offer);
  count(Outcome::served);
  co_return manifestAnswer(std::move(*offer), request.method);
}

void Endpoint::expectParts(const ImageReference& image, const Offer& offer) {
  const auto found = sticky_.find(image.repository());
  if (found == sticky_.end() || found->second.parts.size() + offer.parts.size() > kMaxParts) return;
  found->second.parts.insert(offer.parts.begin(), offer.parts.end());
}

bool Endpoint::isExpected(const ImageReference& image) const {
  const auto found = sticky_.find(image.repository());
  return found != sticky_.end() && clock_.now() < found->second.until &&
         found->second.parts.contains(image.digest());
}

void Endpoint::noteServed(const ImageReference& image, const Offer& offer, const Failing& failing) {
  const auto name = nameOf(image);
  const auto now = clock_.wall();
  ServedImage one{name, offer.digest, failing.cause, failing.text, {}, !image.digest().empty(), now, now, 1};
  if (!one.byDigest) {
    one.lastSeen = seen_.of(name, offer.updatedAt);
    const auto saved = seen_.served(name, offer.updatedAt, now);
    if (!saved && outside_.trouble) outside_.trouble("the mirror: " + saved.error().message());
  }
  served_->note(name, clock_.now());
  if (sticky_.size() >= kMaxSticky) {
    std::erase_if(sticky_, [&](const auto& entry) { return entry.second.until <= clock_.now(); });
  }
  if (sticky_.size() < kMaxSticky) {
    auto& pull = sticky_[image.repository()];
    if (pull.until <= clock_.now()) pull.parts.clear();
    pull.failing = failing;
    pull.until = later(clock_.now(), kPullUnderWay);
  }
  bool tell = true;
  {
    const std::lock_guard lock(guard_);
    ++view_.images[{one.byDigest ? "digest" : "tag", std::string(toString(failing.cause))}];
    auto& list = view_.served;
    const auto before =
        std::find_if(list.begin(), list.end(), [&](const ServedImage& other) { return other.name == name; });
    if (before != list.end()) {
      one.times = before->times + 1;
      tell = before->digest != one.digest || now - before->toldAt >= kTellAgain;
      if (!tell) one.toldAt = before->toldAt;
      list.erase(before);
    }
    list.insert(list.begin(), one);
    if (list.size() > kMaxServedKept) list.pop_back();
  }
  if (tell && outside_.tell) outside_.tell(one);
}

/// The blob, if it belongs to the repository.
asio::awaitable<Result<cri::StoredContent>> Endpoint::partOf(ImageReference image) {
  if (!isExpected(image)) {
    FB_CO_CHECK(
        co_await checkRepository(outside_.store, image.repository(), image.digest(), Platform::own()));
  }
  co_return co_await outside_.store.content(image.digest());
}

asio::awaitable<http::Response> Endpoint::blob(ImageReference image, http::Request request) {
  const auto& digest = image.digest();
  auto failing = pullUnderWay(image);
  if (!failing) failing = co_await failingNow(image);
  if (!failing)
    co_return passOn(Outcome::upstream_well, Code::blob_unknown, "the registry is healthy: ask it");
  const auto entry = co_await partOf(image);
  if (!entry) {
    const auto outcome = entry.error().reason == Reason::not_found ? Outcome::not_here : Outcome::failed;
    co_return passOn(outcome, Code::blob_unknown, entry.error().context, failing);
  }
  std::optional<ByteRange> range;
  auto answer = blobAnswer(digest, entry->size, request.range, range);
  count(Outcome::served);
  if (range && request.method == http::Request::Method::get) {
    answer.pieces =
        std::make_unique<BlobBody>(outside_.store, turns_, digest, *range, [this](std::size_t bytes) {
          const std::lock_guard lock(guard_);
          view_.bytes += bytes;
        });
  }
  co_return answer;
}

View Endpoint::view() const {
  const std::lock_guard lock(guard_);
  return view_;
}

}  // namespace fallbackd::mirror
