"""A small studio that renders people whose joints are known exactly.

Metres and radians inside. *World*: x to the right of the picture, y up, z towards the
camera, the floor at y = 0. *Body*: x to the person's left, y up, z to the person's
front; a person of heading 0 looks at the camera, so both frames agree. *Camera*: x
right, y down, z away from the eye.
"""
