// SPDX-License-Identifier: Apache-2.0
#include "watcher/probe_pulls.hpp"

#include "base/async/event.hpp"
#include "base/async/pause.hpp"
#include "base/strings.hpp"
#include "watcher/classify.hpp"
#include "watcher/watched_pull.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::watcher {

namespace asio = boost::asio;

namespace {

// Verdicts do not wait for the looks: the kernel remembers when data last came.
constexpr int kLooksPerTimeout = 4;
// A registry may take this many times as long as usual, up to a limit.
constexpr int kUsualFactor = 2;
constexpr std::chrono::nanoseconds kMaxResponseTimeout = std::chrono::minutes(1);
constexpr std::size_t kMaxLingering = 4;
// How long a pull of an image that only an annotation names may keep others waiting.
constexpr std::chrono::seconds kTurn{30};
constexpr std::chrono::seconds kLookForOthers{1};

/// Whether the pull ended because its connection was ended after a known timeout.
bool isAborted(const PullFailure& failure, const std::string& text) {
  return failure.cause == Cause::unreachable &&
         text.find("software caused connection abort") != std::string::npos;
}

}  // namespace

std::string peerOf(const ImageReference& reference) {
  const auto& host = reference.host();
  const bool isAddress =
      host.starts_with('[') || (host.find_first_not_of("0123456789.:") == std::string::npos);
  if (!isAddress) return {};
  const bool hasPort = host.starts_with('[') ? !host.ends_with(']') : host.find(':') != std::string::npos;
  return hasPort ? host : host + ":443";
}

ProbePulls::ProbePulls(asio::any_io_executor executor, cri::Runtime& runtime, Traffic& traffic,
                       RegistryHealth& health, FairGate& gate, std::chrono::nanoseconds reprobeInterval,
                       Reopened reopened)
    : executor_(executor),
      clock_(LoopClock::of(executor)),
      runtime_(runtime),
      unsticker_(executor, traffic),
      health_(health),
      gate_(gate),
      reprobeInterval_(reprobeInterval),
      reopened_(std::move(reopened)),
      credentials_(executor),
      tasks_(executor) {}

cri::Awaitable<void> ProbePulls::ended(std::shared_ptr<Pull> pull) {
  co_await pull->done.wait();
}

void ProbePulls::judgeUnfinished(const Pull& pull, std::chrono::nanoseconds stood, Verdict& verdict) {
  if (stood == std::chrono::nanoseconds::zero()) {
    verdict.moves = true;
    verdict.text = "moves, but pods of another namespace wait for its place";
    return;
  }
  verdict.kind = Verdict::Kind::failed;
  verdict.cause = Cause::timeout;
  verdict.stalled = true;
  verdict.text = "neither ended nor moved for " + formatDuration(stood);
  if (pull.watch.downloading()) {
    verdict.text += " amid a download";
  } else if (pull.watch.connected()) {
    verdict.text += ": connected, but no answer came";
  }
}

cri::Awaitable<Verdict> ProbePulls::send(Question question) {
  using namespace asio::experimental::awaitable_operators;
  Verdict verdict;
  // Most outages can be recognised without credentials.
  auto found = co_await credentials_.find(question.credentialsFile, question.providers, question.reference);
  verdict.trouble = std::move(found.trouble);
  verdict.withCredentials = found.credentials.has_value();
  const auto group = groupOf(question);
  const auto usual = health_.usualAnswer(question.scope, question.reference.host());
  auto response = std::max(question.responseTimeout, question.stallTimeout);
  response = std::max(response, std::min(kUsualFactor * usual, kMaxResponseTimeout));
  const auto pull = begin(question, {question.stallTimeout, response}, found.credentials);
  verdict.started = pull->begun;
  if (unsticker_.knows(question.reference.host())) tasks_.spawn(spareOwn(pull));
  const std::variant<std::monostate, std::chrono::nanoseconds, std::monostate> first =
      co_await (ended(pull) || untilStalled(pull) || untilTurnIsOver(group));
  verdict.ended = clock_.now();
  if (first.index() != 0)
    judgeUnfinished(*pull, first.index() == 1 ? std::get<1>(first) : std::chrono::nanoseconds{}, verdict);
  const bool replaced = first.index() == 1 && unstick(pull, found.credentials);
  if (first.index() == 1 && !replaced && isWorthLingering(*pull)) {
    lingering_.emplace(pull->image, pull);
    pull->lingering = tasks_.spawn(linger(pull));
    co_return verdict;
  }
  if (first.index() != 0) {
    tasks_.cancel(pull->task);
    co_return verdict;
  }
  const auto& outcome = *pull->outcome;
  verdict.text = cleanUtf8(outcome.text, Verdict::kMaxText);
  if (outcome.kind == cri::PullOutcome::Kind::pulled) {
    verdict.kind = Verdict::Kind::pulled;
    if (!cameFromNode(question, verdict.started)) {
      health_.answered(question.scope, question.reference.host(), pull->watch.slowestAnswer());
    }
  } else if (const auto failure = readFailure(outcome, question.reference.toString(), mirrors_)) {
    verdict.kind = Verdict::Kind::failed;
    verdict.cause = failure->cause;
    verdict.extent = failure->extent;
    if (unsticker_.knows(question.reference.host()) && isAborted(*failure, outcome.text)) {
      verdict.cause = Cause::timeout;
    }
    verdict.stalled =
        verdict.cause == Cause::timeout && verdict.ended - verdict.started >= question.stallTimeout;
  }
  co_return verdict;
}

std::shared_ptr<ProbePulls::Pull> ProbePulls::begin(const Question& question, PullLimits limits,
                                                    std::optional<cri::Credentials> credentials) {
  auto connections = unsticker_.look();
  const auto now = clock_.now();
  std::set<std::uint64_t> before;
  for (const auto& [inode, one] : connections.value_or(sys::TcpConnections{})) before.insert(one.cookie);
  const auto pull = std::make_shared<Pull>(
      executor_, question, limits,
      PullWatch(limits, question.reference.path(), std::move(connections), peerOf(question.reference), now));
  pull->before = std::move(before);
  pull->begun = now;
  // A separate task: it may outlive its verdict.
  pull->task = tasks_.spawn(run(pull, std::move(credentials)));
  return pull;
}

cri::Awaitable<void> ProbePulls::run(std::shared_ptr<Pull> pull,
                                     std::optional<cri::Credentials> credentials) {
  ++sent_;
  pull->outcome = co_await runtime_.pull(pull->question.reference.toString(), std::move(credentials));
  pull->done.set();
}

/// With a download under way it would keep a layer locked that the next probe needs.
bool ProbePulls::isWorthLingering(const Pull& pull) const {
  return !pull.question.scope && !pull.watch.downloading() && lingering_.size() < kMaxLingering &&
         !lingering_.contains(pull.image);
}

/// Continues a pull whose verdict was given. If it succeeds, its registry is healthy, and at most slow.
cri::Awaitable<void> ProbePulls::linger(std::shared_ptr<Pull> pull) {
  using namespace asio::experimental::awaitable_operators;
  pull->watch.relax({lingerStill_, lingerStill_});
  const auto first = co_await (ended(pull) || untilStalled(pull) || pauseFor(lingerInAll_));
  lingering_.erase(pull->image);
  if (first.index() != 0) tasks_.cancel(pull->task);
  if (!pull->outcome || pull->outcome->kind != cri::PullOutcome::Kind::pulled) co_return;
  if (cameFromNode(pull->question, pull->begun)) co_return;
  if (!pull->question.scope) unsticker_.answered(pull->question.reference.host());
  pulledLate(*pull);
}

/// After its verdict.
void ProbePulls::pulledLate(const Pull& pull) {
  health_.answered(pull.question.scope, pull.question.reference.host(), pull.watch.slowestAnswer());
  proveHealthy(pull);
}

/// Its registry delivers. Others need not wait for the end of a large download, or of its unpacking: until
/// then they would be told that the registry is as dead as it was.
void ProbePulls::proveHealthy(const Pull& pull) {
  const auto& question = pull.question;
  const auto& host = question.reference.host();
  if (health_.succeeded(question.scope, host, pull.image, clock_.now())) {
    reopened_(host, question.scope);
  }
  gate_.reconsider(host);
}

void ProbePulls::stopLingering(const std::string& image) {
  if (const auto found = lingering_.find(image); found != lingering_.end()) {
    tasks_.cancel(found->second->lingering);
    tasks_.cancel(found->second->task);
    lingering_.erase(found);
  }
}

/// Never returns if the operator's configuration names the image.
cri::Awaitable<void> ProbePulls::untilTurnIsOver(FairGroup group) {
  if (group.kind == FairGroup::Kind::configured) {
    co_await untilCancelled();
    co_return;
  }
  co_await pauseFor(kTurn);
  while (!gate_.queue().othersWait(group)) co_await pauseFor(kLookForOthers);
}

/// Returns once the pull has stood still for its limit: how long it stood.
cri::Awaitable<std::chrono::nanoseconds> ProbePulls::untilStalled(std::shared_ptr<Pull> pull) {
  using namespace asio::experimental::awaitable_operators;
  const auto first = co_await (lookAtConnections(pull) || lookAtStore(pull));
  co_return std::get<0>(first);
}

/// The deadline must not wait for a containerd that is slow under load.
cri::Awaitable<void> ProbePulls::lookAtStore(std::shared_ptr<Pull> pull) {
  const auto pause = pull->question.stallTimeout / kLooksPerTimeout;
  const std::string host = pull->question.reference.hostName();
  for (;;) {
    const auto asked = clock_.now();
    const auto askedWall = clock_.wall();
    const auto contents = co_await runtime_.contentsFrom(host);
    const auto ingests = co_await runtime_.ingests();
    pull->watch.sawConnections(unsticker_.look(), clock_.now());
    if (contents && ingests) {
      pull->watch.sawStore(*contents, *ingests, asked, askedWall);
      if (pull->watch.delivered() && !pull->provedHealthy && !cameFromNode(pull->question, pull->begun)) {
        pull->provedHealthy = true;
        proveHealthy(*pull);
      }
    } else {
      pull->watch.missedStore(asked);
    }
    pull->looked.notify();
    co_await pauseFor(pause);
  }
}

/// Sleeps until the deadline, which moves with the last byte that came.
cri::Awaitable<std::chrono::nanoseconds> ProbePulls::lookAtConnections(std::shared_ptr<Pull> pull) {
  auto& watch = pull->watch;
  for (;;) {
    const auto now = clock_.now();
    watch.sawConnections(unsticker_.look(), now);
    if (const auto stood = watch.stalled(now)) co_return *stood;
    const auto deadline = watch.deadline();
    // Past the deadline, waits for the store's answer.
    co_await pull->looked.waitUntil(deadline > now ? deadline : Stamp::max());
  }
}

}  // namespace fallbackd::watcher
