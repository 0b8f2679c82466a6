"""Gestures: kpose predict 0 --out - | python gesture_control.py prints one per line."""

import json
import math
import sys
from collections import defaultdict

SURE, UNKNOWN = 0.3, complex(math.nan, math.nan)  # NaN: neither more nor less than 0.
SWIPE, SWIPE_MS, REST_MS = 0.8, 500, 800  # So far in so long; then the hand goes back.
APART, WAIST, STEP = 0.4, -0.7, 5  # Hands at a wheel; a turn worth telling, degrees.


def in_body(points):
    """Return joints as x + yi in torso lengths from the shoulders: own left, and up."""
    sure = {n: p for n, p in points.items() if p and (p[2] is None or p[2] >= SURE)}
    at = {name: complex(x, -y) for name, (x, y, _) in sure.items()}
    left, right = (at.get(f"{side}_shoulder", UNKNOWN) for side in ("left", "right"))
    torso = abs(right - at.get("left_hip", UNKNOWN)) or math.nan
    x_unit = math.copysign(torso, (left - right).real)  # Whichever way they face.
    steps = {name: at.get(name, UNKNOWN) - (left + right) / 2 for name in points}
    return {n: complex(s.real / x_unit, s.imag / torso) for n, s in steps.items()}


def gestures(lines):
    """Yield the gestures in JSON lines of kpose, each with its time and person."""
    raised, angles, paths, rest = set(), {}, defaultdict(list), defaultdict(float)
    for row in map(json.loads, lines):
        who, now = (row["source"], row["track_id"]), row["time_ms"]
        if row["status"] != "ok" or None in (*who, now):
            continue  # Nobody, or a picture, in which nothing moves.
        event = {"time_ms": now, "track_id": row["track_id"]}
        at = in_body(row["keypoints"])
        hands = {side: at[f"{side}_wrist"] for side in ("left", "right")}
        span = hands["left"] - hands["right"]
        wheel = span.real > APART and all(WAIST < h.imag < 0 for h in hands.values())
        angle = math.degrees(math.atan2(span.imag, span.real)) if wheel else math.inf
        if not wheel or abs(angle - angles.get(who, math.inf)) >= STEP:
            angles[who] = angle  # Over 0: left hand up, a turn to the right.
            if wheel:
                yield event | {"gesture": "wheel", "degrees": round(angle)}
        for side, hand in hands.items():
            this = who, side
            if hand.imag > at["head"].imag and this not in raised:
                raised.add(this)
                yield event | {"gesture": "raise_hand", "hand": side}
            elif hand.imag < 0:  # Below the shoulders: it may shake beside the head.
                raised.discard(this)
            paths[this] = [(t, h) for t, h in paths[this] if 0 < now - t <= SWIPE_MS]
            if hand.imag > WAIST and not wheel and now >= rest[this]:
                paths[this].append((now, hand))
                step = hand - paths[this][0][1]
                if abs(step.real) >= SWIPE and abs(step.imag) < abs(step.real) / 2:
                    rest[this] = now + REST_MS
                    way = "left" if step.real > 0 else "right"
                    yield event | {"gesture": "swipe", "hand": side, "direction": way}


if __name__ == "__main__":
    for gesture in gestures(sys.stdin):
        print(json.dumps(gesture), flush=True)
